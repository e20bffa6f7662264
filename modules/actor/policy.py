"""The policy: Mode-1, distilled from Mode-2's plans.

Shapes: B parallel worlds, H horizon, A action width, S the size of a state, F = S flattened, N rows of a batch.
"""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import ACTION_MASK, Actor
from ami.errors import require
from ami.module import Batch, callable_method
from ami.ports import ActionSpace, Dims
from modules.actor.holding import action_at, age_of, is_held


class Policy(Actor):
    """π(s, g) → action, an MLP of state and goal, learnt from Mode-2's plans (LeCun 2022, section 3.1.3).

    In Mode-2 it follows the newest plan: its first action, or, if the planner fires only every n ticks, the due one; after
    the plan's end its last action. In Mode-1, or without a plan, it outputs π(s, g): for discrete actions the most probable
    alternative that the world's mask allows. A plan's action that the mask forbids is replaced by the first allowed
    alternative. A planner may start its search from `propose`: `graph.planner.calls.policy=actor`.

    The target is the plan's first action: mean squared error with a tanh output for continuous dimensions, cross-entropy
    for each discrete choice.

    Args:
        hidden: width of the MLP's two hidden layers.

    Raises:
        SettingError: a setting is out of its range.
    """

    inputs = {**Actor.inputs, "action_mask": ACTION_MASK}

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        require(hidden >= 1, f"Policy.hidden is {hidden}: expected 1 or more")
        self.hidden = hidden
        self._state_dims = self._goal_dims = 1

    def build(self, dims: Dims) -> None:
        state, goal = self.inputs["state"].shape(dims), self.inputs["goal"].shape(dims)
        width = cast(int, dims["A"])
        self._state_dims, self._goal_dims = len(state), len(goal)
        self.space = self.actions or ActionSpace(width)
        self.first = nn.Linear(self._width(state, goal), self.hidden)
        self.second = nn.Linear(self.hidden, self.hidden)
        self.last = nn.Linear(self.hidden, width)

    @callable_method
    def propose(self, state: Tensor, goal: Tensor) -> Tensor:
        """Return actions (…, A) for states (…, *S) and goals (…, *Q)."""
        return self._proposed(state, goal, None)

    def _proposed(self, state: Tensor, goal: Tensor, allowed: Tensor | None) -> Tensor:
        score = self._score(state, goal)
        if not self.space.choices:
            return score.tanh()
        return self.space.one_hot(self.space.chosen(score, allowed), score[..., :self.space.numbers].tanh())

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"tick": torch.zeros(batch, dtype=torch.int64)} if is_held(self) else {}

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor | None = None,
             action_mask: Tensor | None = None) -> dict[str, Tensor]:
        allowed = action_mask if self.space.choices else None
        if allowed is not None:
            self.space.check_mask(allowed, "Policy")
        return {"action": self._chosen(state, goal, mode, plan, allowed)}

    def _chosen(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor | None, allowed: Tensor | None) -> Tensor:
        modes = mode.tolist()
        due = None if plan is None else self._due(plan)
        if due is None or 2 not in modes:
            return self._proposed(state, goal, allowed)
        if allowed is not None:
            due = self.space.nearest(due, allowed)
        if 1 not in modes:
            return due
        return torch.where((mode == 2)[:, None].to(self.device), due, self._proposed(state, goal, allowed))

    def _due(self, plan: Tensor) -> Tensor:
        """Return the actions (B, A) of the newest plans (B, H, A) that are due."""
        if not is_held(self):
            return plan[:, 0]
        tick = self.carry["tick"]
        self.carry = {"tick": tick + self.every}
        return action_at(plan, age_of(self, tick))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the imitation loss and its figures.

        Args:
            batch: "state" (N, *S), "goal" (N, *Q) and "plan" (N, H, A), made by Mode-2.

        Returns:
            The loss; `action_error`, the mean squared error of continuous numbers; `agreement`, the share of equal choices.
        """
        return self.imitation(self._score(batch["state"], batch["goal"]), batch["plan"][:, 0])

    def imitation(self, score: Tensor, wanted: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of scores (…, A) for the actions wanted (…, A), and the figures of `loss`."""
        score, wanted = score.flatten(0, -2), wanted.flatten(0, -2)
        losses, figures = [], {}
        if self.space.numbers:
            losses.append(F.mse_loss(torch.tanh(score[:, :self.space.numbers]), wanted[:, :self.space.numbers]))
            figures["action_error"] = losses[0].detach()
        if self.space.choices:
            chosen = self.space.chosen(wanted)
            losses += [F.cross_entropy(block, chosen[:, i]) for i, block in enumerate(self.space.blocks(score))]
            figures["agreement"] = (self.space.chosen(score) == chosen).float().mean()
        return torch.stack(losses).sum(), figures

    def _width(self, state: tuple[int, ...], goal: tuple[int, ...]) -> int:
        """Return the number of inputs of the MLP for states and goals of these shapes."""
        return prod(state) + prod(goal)

    def _seen(self, state: Tensor, goal: Tensor) -> Tensor:
        """Return the inputs of the MLP for states (…, *S) and goals (…, *Q)."""
        if self._state_dims != 1:
            state = state.flatten(-self._state_dims)
        if self._goal_dims != 1:
            goal = goal.flatten(-self._goal_dims)
        return torch.cat([state, goal], dim=-1)

    def _score(self, state: Tensor, goal: Tensor) -> Tensor:
        # fast for one world: no extra copies; tensors changed in place were created here
        hidden = self.first(self._seen(state, goal)).relu_()
        score: Tensor = self.last(self.second(hidden).relu_())
        return score
