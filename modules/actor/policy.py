"""The policy: Mode-1, compiled from what Mode-2 planned.

Shapes: B parallel worlds, H horizon, A action width, S the size of a state, F = S flattened, N rows of a batch.
"""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Actor
from ami.errors import require
from ami.module import Batch, callable_method
from ami.ports import Choices, Dims
from modules.actor.exploring import explored


class Policy(Actor):
    """π(s, g) → action, an MLP of state and goal, learnt from Mode-2's plans (LeCun 2022, section 3.1.3).

    In Mode-2 it follows the plan, the first step of the newest one; in Mode-1, or where no plan is wired, it reacts. A
    planner may start its search from `propose`: `graph.planner.calls.policy=actor`.

    For continuous actions the loss is the mean squared error of the plan's first action and the output a tanh. Of discrete
    actions (`ami.ports.Choices`) it learns by cross-entropy which one the plan begins with, and takes the most probable.

    Args:
        hidden: width of the MLP's two hidden layers.
        explore: the share of actions that are random instead, for gathering experience.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, hidden: int = 128, explore: float = 0.0) -> None:
        super().__init__()
        require(hidden >= 1, f"Policy.hidden is {hidden}: expected 1 or more")
        require(0 <= explore <= 1, f"Policy.explore is {explore}: expected 0 to 1")
        self.hidden, self.explore = hidden, explore
        self._state_dims, self._chooses = 1, False

    def build(self, dims: Dims) -> None:
        state, width = self.inputs["state"].shape(dims), cast(int, dims["A"])
        self._state_dims, self._chooses = len(state), isinstance(width, Choices)
        self.first = nn.Linear(2 * prod(state), self.hidden)
        self.second = nn.Linear(self.hidden, self.hidden)
        self.last = nn.Linear(self.hidden, width)

    @callable_method
    def propose(self, state: Tensor, goal: Tensor) -> Tensor:
        """What to do: states (…, *S) and goals (…, *S) to actions (…, A)."""
        score = self._score(state, goal)
        return F.one_hot(score.argmax(-1), score.shape[-1]).to(score) if self._chooses else score.tanh()

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        return {"action": explored(self, self._chosen(state, goal, mode, plan), self.explore)}

    def _chosen(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor | None) -> Tensor:
        modes = mode.tolist()
        if plan is None or 2 not in modes:
            return self.propose(state, goal)
        if 1 not in modes:
            return plan[:, 0]
        return torch.where((mode == 2)[:, None], plan[:, 0], self.propose(state, goal))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What learning minimises, and how near it comes to the plans.

        Args:
            batch: "state" (N, *S), "goal" (N, *S) and "plan" (N, H, A), made by Mode-2.

        Returns:
            The loss, and `action_error`, the mean squared error, or `agreement`, the share of equal choices.
        """
        score, wanted = self._score(batch["state"], batch["goal"]), batch["plan"][:, 0]
        if self._chooses:
            chosen = wanted.argmax(-1)
            return F.cross_entropy(score, chosen), {"agreement": (score.argmax(-1) == chosen).float().mean()}
        loss = F.mse_loss(torch.tanh(score), wanted)
        return loss, {"action_error": loss.detach()}

    def _score(self, state: Tensor, goal: Tensor) -> Tensor:
        if self._state_dims > 1:
            state, goal = state.flatten(-self._state_dims), goal.flatten(-self._state_dims)
        # for one world every operation counts: no second copies, what is changed in place was made here
        hidden = self.first(torch.cat([state, goal], dim=-1)).relu_()
        score: Tensor = self.last(self.second(hidden).relu_())
        return score
