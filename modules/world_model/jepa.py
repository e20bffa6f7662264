"""JEPA: predicts the next state in latent space, not in pixels (paper, section 4.4).

Shapes: B parallel worlds, K candidates, H horizon, A action width, D state width; N windows of T actions, T + 1 states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Perception, Prediction, RowErrors, preceding
from ami.errors import SettingError, require
from ami.module import Batch, callable_method, module_behind
from ami.ports import Dims, Size
from modules.nets import mlp
from modules.world_model._predictor import Predictor, imagined
from modules.world_model._target import Pixels, call_of, target_for
from modules.world_model.anti_collapse import AntiCollapse, anti_collapse_of
from modules.world_model.markov import MarkovWorldModel

FRAMES_AT_ONCE = 1024
SMALLEST_STEP = 1e-3
PRECISIONS = ("float32", "bfloat16")


class JEPA(MarkovWorldModel):
    """A joint-embedding predictive architecture: the next state is the state plus an MLP of state and action.

    It is composed of predictors, a target of their predictions (`modules.world_model._target`) and an anti-collapse method.
    The state is the percept, S = P, layer-normed if the method requires it; the perception is trained jointly, through the
    call edge. A prediction's energy is its squared error (paper, figure 12, without a latent variable).

    Args:
        hidden: width of a predictor's two hidden layers.
        anti_collapse: `vicreg`, `sigreg`, `ema` or `none`; or one of `modules.world_model.anti_collapse` with other
            weights.
        rewards: whether to also predict the world's reward on arriving at a state, and the probability that the episode
            continues from there.
        normalise_deltas: whether to normalise state differences by their mean absolute one-step change in the experience.
            Without it, predicting no change has a small error in worlds with small steps. Only for fixed states.
        num_predictors: E, the number of predictors. They differ only in their initial weights, and multiply the cost of a
            model step. Their disagreement, small on training data, is the spread of a prediction (Pathak and others,
            *Self-supervised exploration via disagreement*, 2019).
        target: `states`, or `pixels`: the generative counterpart, whose states are trained by reconstructing observations
            (paper, section 4.3). With anti_collapse `ema` the target states are those of the slow copy.
        imagination_precision: `float32`, or `bfloat16` for the predictors' matrix products in `imagine`, whatever the number
            of rows, so that a row's states do not depend on its batch. Faster for many rows, slower for few. States add up
            in float32; learning has a setting of its own, `precision` of a stage.

    Raises:
        SettingError: a setting is out of its range or unknown; `normalise_deltas` is true although states are learnt;
            the target is `pixels` and the method `ema`; or, when the graph is built, a percept is not a vector.
    """

    reward_scale: Tensor

    def __init__(self, hidden: int = 256, anti_collapse: str | AntiCollapse = "vicreg", rewards: bool = False,
                 normalise_deltas: bool = False, num_predictors: int = 1, target: str = "states",
                 imagination_precision: str = "float32") -> None:
        super().__init__()
        require(hidden >= 2, f"JEPA.hidden is {hidden}: expected 2 or more")
        require(num_predictors >= 1, f"JEPA.num_predictors is {num_predictors}: expected 1 or more")
        self.hidden, self.method, self.rewards = hidden, anti_collapse_of(anti_collapse), rewards
        self.normalise_deltas, self.num_predictors = normalise_deltas, num_predictors
        require(imagination_precision in PRECISIONS,
                f"JEPA.imagination_precision is {imagination_precision!r}: expected one of {', '.join(PRECISIONS)}")
        self.imagination_precision = imagination_precision
        self.compares = target
        self.requires = {"perception": call_of(target_for(target, self.method))}
        require(not normalise_deltas or type(self.method) is AntiCollapse,
                f"JEPA.normalise_deltas is true and JEPA.anti_collapse {anti_collapse!r}: normalise_deltas needs fixed "
                "states, which cannot collapse. Fix: normalise_deltas=false, or anti_collapse=none")
        if rewards:
            self.register_buffer("reward_scale", torch.ones(()))

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "P" not in known:
            return {}
        percept = known["P"]
        require(isinstance(percept, tuple) and len(percept) == 1,
                f"JEPA receives percepts of shape {percept}: expected vectors (D,). Fix: perception=conv")
        return {"S": percept}

    def build(self, dims: Dims) -> None:
        (width,), actions = cast("tuple[int]", dims["S"]), cast(int, dims["A"])
        self.predictor = Predictor(width, actions, self.hidden, self.normalise_deltas)
        if self.method.idm:
            self.inverse = mlp(2 * width, self.hidden // 2, self.hidden // 2, actions)
        if self.rewards:
            self.outcome = mlp(2 * width + actions, self.hidden, self.hidden, 2)
        self.others = nn.ModuleList(Predictor(width, actions, self.hidden, self.normalise_deltas)
                                    for _ in range(self.num_predictors - 1))
        self.target = target_for(self.compares, self.method)
        self.target.build(dims, self.hidden)

    @property
    def predictors(self) -> list[Predictor]:
        """All E predictors."""
        return [self.predictor, *cast("list[Predictor]", list(self.others))]

    def state_of(self, percept: Tensor) -> Tensor:
        """Return the states (…, D) of percepts (…, D)."""
        return self._scaled(percept)

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine states (B, K, H, D) from states (B, D) and actions (B, K, H, A); rounding may depend on B and K."""
        return self._imagined(state, actions, half=self.imagination_precision == "bfloat16")

    def _imagined(self, state: Tensor, actions: Tensor, half: bool) -> Prediction:
        states, spread = imagined(self.predictors, state, actions, self._scaled, half)
        if not self.rewards:
            return Prediction(states, spread)
        before = torch.cat([state[:, None, None].expand_as(states[:, :, :1]), states[:, :, :-1]], dim=2)
        reward, logit = self._outcome(before, actions, states)
        return Prediction(states, spread, reward * self.reward_scale, logit.sigmoid())

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the Euclidean distance: (…, D), (…, D) to (…)."""
        norm: Tensor = torch.linalg.vector_norm(states - goal, dim=-1)
        return norm

    @callable_method
    def decode(self, states: Tensor) -> Tensor:
        """Decode states (…, D) to observations (…, *O) float32; for the target `pixels`."""
        if not isinstance(self.target, Pixels):
            raise SettingError("JEPA.decode needs a decoder, and JEPA.target is states. Fix: world_model=generative")
        return self.target.decode(states)

    def _outcome(self, before: Tensor, actions: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Predict, from states (…, D), actions (…, A) and next states (…, D), the reward (…) in units of its scale, and the
        logit (…) that the episode continues."""
        if self.predictor.step is not None:  # rewards may depend on differences much smaller than the states
            after = ((after - before) / self.predictor.step).asinh()
        reward, logit = self.outcome(torch.cat([before, actions, after], dim=-1)).unbind(-1)
        return reward, logit

    def _scaled(self, states: Tensor) -> Tensor:
        """Layer-norm perceived and imagined states if the method requires it."""
        return F.layer_norm(states, states.shape[-1:]) if self.method.normalises else states

    # Learning --------------------------------------------------------------------------------------------------------

    def fit_statistics(self, batch: Batch) -> None:
        """Set the mean absolute nonzero reward and the mean absolute one-step change of each state dimension from all
        experience, before each round of learning. Absolute values are robust to rare, large crashes and jumps."""
        if self.rewards and "reward" in batch:
            given = batch["reward"][batch["reward"] != 0]
            if len(given):
                self.reward_scale.copy_(given.abs().mean())
        if self.predictor.step is not None:
            perception = module_behind(self.calls.perception)
            require(not any(True for _ in perception.parameters()),
                    f"JEPA.normalise_deltas is true, but states are learnt, by {type(perception).__name__}: expected fixed "
                    "states. Fix: world_model.normalise_deltas=false, or perception=vector with perception.width=0")
            with torch.no_grad():
                states = torch.cat([self.state_of(self.calls.perception.encode(part))
                                    for part in batch["observation"].split(FRAMES_AT_ONCE)])
                moved = (states[1:] - states[:-1])[~batch["last"][:-1]].abs().mean(0)
            for one in self.predictors:
                cast(Tensor, one.step).copy_(moved.clamp(min=SMALLEST_STEP))
        self.target.fit_statistics(batch)

    def begin_learning(self) -> None:
        """Create the target network that `ema` needs; called before the optimiser is created or a checkpoint loaded."""
        state = self.target.learning_state(module_behind(self.calls.perception)) if "perception" in self.calls else None
        if state is not None:
            self.learning_state = state

    def after_step(self, step: int, total: int) -> None:
        """Update the target network after optimiser step `step`, counted from 0, of `total`."""
        if hasattr(self, "learning_state"):
            self.target.after_step(self.learning_state, module_behind(self.calls.perception), step / total)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean error of T states imagined from the first one, plus the anti-collapse terms.

        The target defines the error: squared; with `normalise_deltas` smooth L1, in units of the mean one-step change. With
        `ema` call `begin_learning()` first.

        Args:
            batch: "observation" (N, T + 1, *O) or, from a frozen perception, "percept" (N, T + 1, D); "action" (N, T, A);
                for `rewards` also "reward" and "cont" (N, T).

        Returns:
            The loss, and unweighted figures: `prediction`, `reward` and `cont` (smooth L1 and cross-entropy), each
            anti-collapse term, `idm` (mean squared error of the action predicted from two successive states), `std` (mean
            standard deviation of a state's dimensions over the batch; states have collapsed if it is near 0). The rows'
            importance weights apply to the first three, whose sum is a row's error.
        """
        action = batch["action"]
        states, _ = self.observe(self.percepts_in(batch), preceding(action))
        predicted = self._imagined(states[:, 0], action[:, None], half=False)
        ahead = predicted.states[:, 0]
        rows = RowErrors(batch)
        prediction = self.target.error(rows, batch, states, ahead, self.predictor.step,
                                       lambda: self._slow(batch["observation"]))
        if predicted.spread is not None:  # the predictors' mean squared error is the error of their mean plus their variance
            prediction = prediction + rows.mean(predicted.spread.square(), states.shape[-1])
        total, figures = prediction, {"prediction": prediction}
        terms = self.method.penalties(states)
        if self.method.idm:
            read = self.inverse(torch.cat([states[:, :-1], states[:, 1:]], dim=-1))
            terms["idm"] = self.method.idm, F.mse_loss(read, action)
        for name, (weight, value) in terms.items():
            total = total + weight * value
            figures[name] = value
        if self.rewards:
            before = torch.cat([states[:, :1], ahead[:, :-1]], dim=1)
            reward, logit = self._outcome(before, action, ahead)
            figures["reward"] = rows.of(F.smooth_l1_loss, reward, batch["reward"] / self.reward_scale)
            figures["cont"] = rows.of(F.binary_cross_entropy_with_logits, logit, batch["cont"])
            total = total + figures["reward"] + figures["cont"]
        figures["std"] = states.flatten(0, 1).std(0).mean()
        return total, {**{name: value.detach() for name, value in figures.items()}, **rows.figures()}

    @torch.no_grad()
    def _slow(self, observation: Tensor) -> Tensor:
        """Return the states (N, T + 1, D) of observations (N, T + 1, *O) by the slow copy of the perception."""
        return self.state_of(cast(Perception, self.learning_state["perception"]).encode(observation))
