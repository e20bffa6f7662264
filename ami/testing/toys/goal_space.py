"""Goal space: goals are embeddings of another shape than states, as of a text or a picture, Q ≠ S.

Shapes: B parallel worlds, K candidates, H horizon, A action width, S state width, Q goal width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from ami.blueprint import Carry, Prediction, WorldModel
from ami.ports import Dims, Size
from ami.testing.stubs import fixed_map
from ami.testing.toys.plane import STEP


class GoalSpace(WorldModel):
    """The state is the percept, the dynamics are those of a `Plane` without momentum; a goal is a nonlinear embedding of a
    percept.

    Args:
        goal: Q.
    """

    equal_dims = {"S": "P", "U": "A"}

    def __init__(self, goal: int = 16) -> None:
        super().__init__()
        self.goal = goal

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"Q": (self.goal,)}

    def build(self, dims: Dims) -> None:
        (width,) = cast("tuple[int]", dims["S"])
        self.embedding = fixed_map(width, self.goal)
        self.moves = STEP * torch.eye(cast(int, dims["A"]), width)

    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        return percepts, {}

    def goal_of(self, percept: Tensor) -> Tensor:
        return (percept @ self.embedding).tanh()

    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        return Prediction(state[:, None, None] + (actions @ self.moves).cumsum(2))

    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        apart: Tensor = torch.linalg.vector_norm(self.goal_of(states) - goal, dim=-1)
        return apart
