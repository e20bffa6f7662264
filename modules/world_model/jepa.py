"""JEPA: predicts the next state in latent space, not in pixels (paper, section 4.4).

Shapes: B parallel worlds, K candidates, H horizon, A action width, D state width; N windows of T actions, T + 1 states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Perception, Prediction, preceding
from ami.errors import require
from ami.module import Batch, callable_method, module_behind
from ami.ports import Dims, Size
from modules.nets import mlp, target_of
from modules.world_model.anti_collapse import EMA, AntiCollapse, anti_collapse_of
from modules.world_model.markov import MarkovWorldModel

SMALLEST_STEP = 1e-3


class Predictor(nn.Module):
    """The next state: the state plus an MLP of state and action.

    Args:
        width: D, the size of a state.
        actions: A, the size of an action.
        hidden: width of the two hidden layers.
        normalise_deltas: whether the MLP's output is multiplied by `step` (D,), the mean absolute one-step change.
    """

    def __init__(self, width: int, actions: int, hidden: int, normalise_deltas: bool = False) -> None:
        super().__init__()
        self.width = width
        self.step: Tensor | None
        self.register_buffer("step", torch.ones(width) if normalise_deltas else None)
        self.first = nn.Linear(width + actions, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, width)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict states (…, D) from states (…, D) and actions (…, A); leading dimensions broadcast."""
        sizes = torch.broadcast_shapes(state.shape[:-1], action.shape[:-1])
        state, action = (part.expand(*sizes, -1).reshape(-1, part.shape[-1]) for part in (state, action))
        return self.step_function()(state, action).view(*sizes, -1)

    def step_function(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the prediction of one step, with the weights looked up and split once for all steps of a rollout.

        It maps states (n, D) and actions (N, A) to states (N, D), where N / n successive actions share a state. Looking
        the weights up at every step takes a fifth of a rollout of 32 candidates on a CPU.
        """
        # The first layer in two parts avoids a concatenation, and actions with one state share its part. Operations are
        # in place on tensors created here.
        of_state, of_action = self.first.weight.t().split([self.width, self.first.in_features - self.width])
        bias, step = self.first.bias, self.step
        second, second_bias = self.second.weight.t(), self.second.bias
        last, last_bias = self.last.weight.t(), self.last.bias

        def predict(state: Tensor, action: Tensor) -> Tensor:
            hidden = torch.addmm(bias, state, of_state)
            if len(state) == len(action):
                hidden = hidden.addmm_(action, of_action).relu_()
            else:
                share = len(action) // len(state)
                hidden, state = (part[:, None].expand(-1, share, -1).flatten(0, 1) for part in (hidden, state))
                hidden = torch.addmm(hidden, action, of_action).relu_()
            moved = torch.addmm(last_bias, torch.addmm(second_bias, hidden, second).relu_(), last)
            return moved.add_(state) if step is None else moved.mul_(step).add_(state)

        return predict


class JEPA(MarkovWorldModel):
    """A joint-embedding predictive architecture: the next state is the state plus an MLP of state and action.

    The state is the percept, S = P, layer-normed if the anti-collapse method requires it; the perception is trained
    jointly, through the call edge. A prediction's energy is its squared error (paper, figure 12, without a latent variable).

    Args:
        hidden: width of the predictor's two hidden layers.
        anti_collapse: `vicreg`, `sigreg`, `ema` or `none`; or one of `modules.world_model.anti_collapse` with other
            weights.
        rewards: whether to also predict the world's reward on arriving at a state, and the probability that the episode
            continues from there.
        normalise_deltas: whether to normalise state differences by their mean absolute one-step change in the experience.
            Without it, predicting no change is a small error in worlds with small steps. For states that are not learnt.

    Raises:
        SettingError: `hidden` is below 2; the method is unknown; `normalise_deltas` and states are learnt; or, when the
            graph is built, a percept is no vector.
    """

    reward_scale: Tensor

    def __init__(self, hidden: int = 256, anti_collapse: str | AntiCollapse = "vicreg", rewards: bool = False,
                 normalise_deltas: bool = False) -> None:
        super().__init__()
        require(hidden >= 2, f"JEPA.hidden is {hidden}: expected 2 or more")
        self.hidden, self.method, self.rewards = hidden, anti_collapse_of(anti_collapse), rewards
        self.normalise_deltas = normalise_deltas
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

    def state_of(self, percept: Tensor) -> Tensor:
        """Return the states (…, D) of percepts (…, D)."""
        return self._scaled(percept)

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine states (B, K, H, D) from states (B, D) and actions (B, K, H, A); rounding may depend on B and K."""
        states, spread = self._imagined(state, actions)
        if not self.rewards:
            return Prediction(states, spread)
        before = torch.cat([state[:, None, None].expand_as(states[:, :, :1]), states[:, :, :-1]], dim=2)
        reward, logit = self._outcome(before, actions, states)
        return Prediction(states, spread, reward * self.reward_scale, logit.sigmoid())

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the Euclidean distance: (…, D), (…, D) to (…)."""
        way: Tensor = torch.linalg.vector_norm(states - goal, dim=-1)
        return way

    def _imagined(self, state: Tensor, actions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Imagine states (B, K, H, D) and their spread (B, K, H), None for a single predictor, from states (B, D) and
        actions (B, K, H, A)."""
        predict, at, steps = self.predictor.step_function(), state, []
        for action in actions.flatten(0, 1).unbind(1):
            at = self._scaled(predict(at, action))
            steps.append(at)
        return torch.stack(steps, dim=1).unflatten(0, actions.shape[:2]), None

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
                states = self.state_of(self.calls.perception.encode(batch["observation"]))
                moved = (states[1:] - states[:-1])[~batch["last"][:-1]].abs().mean(0)
            self.predictor.step.copy_(moved.clamp(min=SMALLEST_STEP))

    def begin_learning(self) -> None:
        """Create the state that only training needs; called before the optimiser is created or a checkpoint loaded."""
        if isinstance(self.method, EMA):
            copy = target_of(module_behind(self.calls.perception))
            self.learning_state = nn.ModuleDict({"perception": copy})

    def after_step(self, step: int, total: int) -> None:
        """Update the EMA copy of the perception after `step` of `total` steps."""
        if isinstance(self.method, EMA):
            self.method.follow(self.learning_state["perception"], module_behind(self.calls.perception), step / total)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error of T steps imagined from the first state, plus the anti-collapse terms.

        With `ema` call `begin_learning()` first.

        Args:
            batch: "observation" (N, T + 1, *O) and "action" (N, T, A); for `rewards` also "reward" and "cont" (N, T).

        Returns:
            The loss, and unweighted figures: `prediction`, `reward` and `cont` (squared error and cross-entropy), each
            anti-collapse term, `idm` (mean squared error of the action predicted from two successive states), `std` (mean
            standard deviation of a state's dimensions over the batch: near 0 the states have collapsed).
        """
        observation, action = batch["observation"], batch["action"]
        states, _ = self.observe(self.calls.perception.encode(observation), preceding(action))
        predicted = self.imagine(states[:, 0], action[:, None])
        imagined = predicted.states[:, 0]
        prediction = self._error(observation, states, predicted)
        total, figures = prediction, {"prediction": prediction}
        terms = self.method.penalties(states)
        if self.method.idm:
            read = self.inverse(torch.cat([states[:, :-1], states[:, 1:]], dim=-1))
            terms["idm"] = self.method.idm, F.mse_loss(read, action)
        for name, (weight, value) in terms.items():
            total = total + weight * value
            figures[name] = value
        if self.rewards:
            before = torch.cat([states[:, :1], imagined[:, :-1]], dim=1)
            reward, logit = self._outcome(before, action, imagined)
            figures["reward"] = F.smooth_l1_loss(reward, batch["reward"] / self.reward_scale)
            figures["cont"] = F.binary_cross_entropy_with_logits(logit, batch["cont"])
            total = total + figures["reward"] + figures["cont"]
        figures["std"] = states.flatten(0, 1).std(0).mean()
        return total, {name: value.detach() for name, value in figures.items()}

    def _error(self, observation: Tensor, states: Tensor, imagined: Prediction) -> Tensor:
        """Return the error of imagined states (N, 1, T, D) against observations (N, T + 1, *O) and states (N, T + 1, D)."""
        predicted, targets = imagined.states[:, 0], self._targets(observation, states)[:, 1:]
        if self.predictor.step is None:
            return F.mse_loss(predicted, targets)
        return F.smooth_l1_loss(predicted / self.predictor.step, targets / self.predictor.step)

    def _targets(self, observation: Tensor, states: Tensor) -> Tensor:
        """Return the target states (N, T + 1, D)."""
        if not isinstance(self.method, EMA):
            return states
        slow = cast(Perception, self.learning_state["perception"])
        with torch.no_grad():
            return self.state_of(slow.encode(observation))
