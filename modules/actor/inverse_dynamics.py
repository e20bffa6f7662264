"""Inverse dynamics: Mode-1 learnt from actions that were taken, from a state and one that came later.

Shapes: B parallel worlds, A action width, S the size of a state, Q of a goal, D of its last dimension; N rows of a batch.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ami.errors import require
from ami.module import Batch
from ami.ports import Dims
from modules.actor.policy import Policy


class InverseDynamics(Policy):
    """π(s, g) → the action that was taken in state s on the way to goal g: a planner's work, amortised.

    The data decide what it is. Random experience with a later state of the same episode as the goal
    (`source=hindsight_states`) makes it goal-conditioned inverse dynamics: no expert and no reward (Ghosh and others,
    *Learning to reach goals via iterated supervised learning*, 2021, its first iteration). An expert's episodes with their
    own goals (`source=trajectories`) make it goal-conditioned behaviour cloning, the kind of baseline that V-JEPA 2-AC has
    (arXiv 2506.09985, section 4).

    It sees the difference of goal and state, by default averaged over tokens, of which the last dimension is left. In places
    never seen the same motion changes tokens alike, although the tokens themselves are others. A goal is compared with the
    part of a state that has its form: of further, leading dimensions the last entry, such as the newest of several frames;
    of all others the first entries.

    In Mode-2 it follows the plan, and a planner may start from its actions, as with `Policy`.

    Args:
        hidden: width of the MLP's two hidden layers.
        absolute: whether it sees the state beside the difference, for worlds in which the way depends on where one is.
        pooled: whether tokens are averaged; otherwise it sees every one.

    Raises:
        SettingError: a setting is out of its range; or, when the graph is built, a state has no part of the form of a goal.
    """

    def __init__(self, hidden: int = 128, absolute: bool = False, pooled: bool = True) -> None:
        super().__init__(hidden)
        self.absolute, self.pooled = absolute, pooled

    def build(self, dims: Dims) -> None:
        state, goal = self.inputs["state"].shape(dims), self.inputs["goal"].shape(dims)
        more = len(state) - len(goal)
        require(len(goal) > 0 and more >= 0 and all(0 < q <= s for q, s in zip(goal, state[more:], strict=True)),
                f"InverseDynamics compares states of the shape {state} with goals of {goal}: expected a state with a part "
                "of the goal's form. Fix: actor=policy")
        self._newest: tuple[Any, ...] = (..., *[-1] * more, *map(slice, goal))
        self._rows = tuple(range(-len(goal), -1))
        super().build(dims)

    def _width(self, state: tuple[int, ...], goal: tuple[int, ...]) -> int:
        return (goal[-1] if self.pooled else prod(goal)) * (1 + self.absolute)

    def _seen(self, state: Tensor, goal: Tensor) -> Tensor:
        now = state[self._newest]
        away = goal - now
        seen = torch.cat([away, now.expand_as(away)], dim=-1) if self.absolute else away
        if self.pooled:
            return seen.mean(self._rows) if self._rows else seen
        return seen.flatten(-1 - len(self._rows))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the error of the actions taken, and its figures, as those of `Policy`.

        Args:
            batch: "state" (…, *S), "goal" (…, *Q) and "action" (…, A), taken in the states.
        """
        return self.imitation(self._score(batch["state"], batch["goal"]), batch["action"])
