"""JEPA: predicts the next state in the space of states, not of pixels (paper, section 4.4).

Shapes: B parallel worlds, K candidates, H horizon, A action width, D state width; N windows of T actions, T + 1 states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Perception, Prediction
from ami.errors import require
from ami.module import Batch, callable_method, module_behind
from ami.ports import Dims, Size
from modules.nets import mlp
from modules.world_model.anti_collapse import EMA, AntiCollapse, anti_collapse_of
from modules.world_model.markov import MarkovWorldModel


class Predictor(nn.Module):
    """The next state: the state plus an MLP of state and action.

    Args:
        width: D, the size of a state.
        actions: A, the size of an action.
        hidden: width of the two hidden layers.
    """

    def __init__(self, width: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(width + actions, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, width)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Actions (…, A) and states (…, D), of the same leading dimensions or 1 there, to states (…, D)."""
        # The first layer in two parts saves joining states and actions, and candidates that share a state share its
        # part; that and no second copies make a rollout 5 % faster on a CPU. What is changed in place was made here.
        of_state, of_action = self.first.weight.split([self.width, action.shape[-1]], dim=1)
        hidden = F.linear(action, of_action).add_(F.linear(state, of_state, self.first.bias)).relu_()
        moved: Tensor = self.last(self.second(hidden).relu_())
        return moved.add_(state)


class JEPA(MarkovWorldModel):
    """A joint-embedding predictive architecture: the next state is the state plus an MLP of state and action.

    The state is the percept, S = P, layer-normed if the anti-collapse method says so; the perception is trained along,
    through the call edge. A prediction's energy is its squared error (paper, figure 12, without a latent variable).

    Args:
        hidden: width of the predictor's two hidden layers.
        anti_collapse: `vicreg`, `sigreg`, `ema` or `none`; or one of `modules.world_model.anti_collapse` with other
            weights.
        rewards: whether it also foresees the world's reward on arriving at a state, and the probability that the episode
            goes on from there; learnt from what the world really gave.

    Raises:
        SettingError: `hidden` is below 2; the method is unknown; or, once the graph knows it, a percept is no vector.
    """

    reward_scale: Tensor

    def __init__(self, hidden: int = 256, anti_collapse: str | AntiCollapse = "vicreg", rewards: bool = False) -> None:
        super().__init__()
        require(hidden >= 2, f"JEPA.hidden is {hidden}: expected 2 or more")
        self.hidden, self.method, self.rewards = hidden, anti_collapse_of(anti_collapse), rewards
        if rewards:
            self.register_buffer("reward_scale", torch.ones(()))

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "P" not in known:
            return {}
        percept = known["P"]
        require(isinstance(percept, tuple) and len(percept) == 1,
                f"JEPA receives percepts of shape {percept}: expected vectors (D,). Cure: perception=conv")
        return {"S": percept}

    def build(self, dims: Dims) -> None:
        (width,), actions = cast("tuple[int]", dims["S"]), cast(int, dims["A"])
        self.predictor = Predictor(width, actions, self.hidden)
        if self.method.idm:
            self.inverse = mlp(2 * width, self.hidden // 2, self.hidden // 2, actions)
        if self.rewards:
            self.outcome = mlp(2 * width + actions, self.hidden, self.hidden, 2)

    @callable_method
    def believe(self, percept: Tensor) -> Tensor:
        """Percepts (…, D) to states (…, D)."""
        return self._scaled(percept)

    @callable_method
    def rollout(self, state: Tensor, actions: Tensor) -> Prediction:
        """Imagine: states (B, D), actions (B, K, H, A) to states (B, K, H, D); the last bits may depend on B and K."""
        states, spread = self._imagined(state, actions)
        if not self.rewards:
            return Prediction(states, spread)
        before = torch.cat([state[:, None, None].expand_as(states[:, :, :1]), states[:, :, :-1]], dim=2)
        reward, logit = self._outcome(before, actions, states)
        return Prediction(states, spread, reward * self.reward_scale, logit.sigmoid())

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Euclidean: (…, D), (…, D) to (…)."""
        way: Tensor = torch.linalg.vector_norm(states - goal, dim=-1)
        return way

    def _imagined(self, state: Tensor, actions: Tensor) -> tuple[Tensor, Tensor | None]:
        """States (B, D), actions (B, K, H, A) to states (B, K, H, D) and their spread (B, K, H), which one predictor alone
        does not know."""
        at, steps = state[:, None], []
        for h in range(actions.shape[2]):
            at = self._scaled(self.predictor(at, actions[:, :, h]))
            steps.append(at)
        return torch.stack(steps, dim=2), None

    def _outcome(self, before: Tensor, actions: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """States (…, D), actions (…, A) and the states they lead to (…, D): the reward (…) in units of its scale, and the
        logit (…) that the episode goes on."""
        reward, logit = self.outcome(torch.cat([before, actions, after], dim=-1)).unbind(-1)
        return reward, logit

    def _scaled(self, states: Tensor) -> Tensor:
        """Perceived and imagined states alike have one scale, where the method wants that."""
        return F.layer_norm(states, states.shape[-1:]) if self.method.normalises else states

    # Learning --------------------------------------------------------------------------------------------------------

    def measure(self, batch: Batch) -> None:
        """Before each round of learning: rewards are foreseen in units of their standard deviation in all experience."""
        if self.rewards and "reward" in batch and float(batch["reward"].std()) > 0:
            self.reward_scale.copy_(batch["reward"].std())

    def begin_learning(self) -> None:
        """Make what only learning needs: called before the optimiser is made and before a checkpoint is loaded."""
        if isinstance(self.method, EMA):
            copy = self.method.copy_of(module_behind(self.calls.perception))
            self.learning_state = nn.ModuleDict({"perception": copy})

    def after_step(self, step: int, total: int) -> None:
        """After `step` of `total` steps the slow copy of the perception moves on."""
        if isinstance(self.method, EMA):
            self.method.follow(self.learning_state["perception"], module_behind(self.calls.perception), step / total)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of T steps imagined from the first state alone, plus what prevents collapse.

        With `ema` it needs `begin_learning()` first.

        Args:
            batch: "observation" (N, T + 1, *O) and "action" (N, T, A); for `rewards` also "reward" and "cont" (N, T).

        Returns:
            The loss, and unweighted figures: `prediction`, `reward` and `cont` (squared error and cross-entropy), each
            anti-collapse term, `idm` (mean squared error of the action read from two states in a row), `std` (mean standard
            deviation of a state's dimensions over the batch: near 0 the states have collapsed).
        """
        observation, action = batch["observation"], batch["action"]
        states = self.believe(self.calls.perception.encode(observation))
        foreseen = self.rollout(states[:, 0], action[:, None])
        imagined = foreseen.states[:, 0]
        prediction = self._error(observation, states, foreseen)
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
            figures["reward"] = F.mse_loss(reward, batch["reward"] / self.reward_scale)
            figures["cont"] = F.binary_cross_entropy_with_logits(logit, batch["cont"])
            total = total + figures["reward"] + figures["cont"]
        figures["std"] = states.flatten(0, 1).std(0).mean()
        return total, {name: value.detach() for name, value in figures.items()}

    def _error(self, observation: Tensor, states: Tensor, imagined: Prediction) -> Tensor:
        """How far states imagined (N, 1, T, D) are from what was perceived, (N, T + 1, *O) and (N, T + 1, D): a scalar."""
        return F.mse_loss(imagined.states[:, 0], self._targets(observation, states)[:, 1:])

    def _targets(self, observation: Tensor, states: Tensor) -> Tensor:
        """The states that imagination shall meet, (N, T + 1, D)."""
        if not isinstance(self.method, EMA):
            return states
        slow = cast(Perception, self.learning_state["perception"])
        with torch.no_grad():
            return self.believe(slow.encode(observation))
