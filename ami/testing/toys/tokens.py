"""Tokens: a state of several vectors, (16, 64), as from a vision transformer. Markov, with known dynamics.

Shapes: B parallel worlds, K candidates, H horizon, A action width, N tokens of width D.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import cast

import torch
from torch import Tensor

from ami.blueprint import Carry, Prediction, WorldModel
from ami.ports import Dims, Size, shape_of
from ami.testing.stubs import fixed_map
from ami.testing.toys.plane import STEP


class Tokens(WorldModel):
    """Every token is a linear map of the percept; the dynamics are those of a `Plane` without momentum. The distance is the
    mean over tokens.

    Args:
        tokens: N.
        width: D.
    """

    def __init__(self, tokens: int = 16, width: int = 64) -> None:
        super().__init__()
        self.tokens, self.width = tokens, width

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"S": (self.tokens, self.width)}

    def build(self, dims: Dims) -> None:
        self.percept = shape_of(dims, "P")
        self.embedding = fixed_map(prod(self.percept), self.tokens * self.width)
        self.moves = STEP * torch.eye(cast(int, dims["A"]), prod(self.percept)) @ self.embedding

    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        return self.goal_of(percepts), {}

    def goal_of(self, percept: Tensor) -> Tensor:
        return self._split(percept.flatten(-len(self.percept)) @ self.embedding)

    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        return Prediction(state[:, None, None] + self._split((actions @ self.moves).cumsum(2)))

    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        apart: Tensor = torch.linalg.vector_norm(states - goal, dim=-1).mean(-1)
        return apart

    def _split(self, numbers: Tensor) -> Tensor:
        split: Tensor = numbers.unflatten(-1, (self.tokens, self.width))
        return split
