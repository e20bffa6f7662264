"""Latent actions: the planner searches in codes of another width than the world's actions, U ≠ A.

Shapes: B parallel worlds, K candidates, H horizon, A action width, U code width, S state width.
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


class LatentActions(WorldModel):
    """A code is decoded to an action by a fixed linear map; the dynamics are those of a `Plane` without momentum.

    Args:
        codes: U.
    """

    equal_dims = {"Q": "S", "S": "P"}

    def __init__(self, codes: int = 3) -> None:
        super().__init__()
        self.codes = codes

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"U": self.codes}

    def build(self, dims: Dims) -> None:
        actions, (width,) = cast(int, dims["A"]), cast("tuple[int]", dims["S"])
        self.decoder = 2 * fixed_map(self.codes, actions)
        self.encoder = torch.linalg.pinv(self.decoder)
        self.moves = STEP * torch.eye(actions, width)

    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        return percepts, {}

    def goal_of(self, percept: Tensor) -> Tensor:
        return percept

    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        moves = self.decode_action(state, actions) @ self.moves
        return Prediction(state[:, None, None] + moves.cumsum(2))

    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        apart: Tensor = torch.linalg.vector_norm(states - goal, dim=-1)
        return apart

    def encode_action(self, state: Tensor, action: Tensor) -> Tensor:
        code: Tensor = action @ self.encoder
        return code

    def decode_action(self, state: Tensor, action: Tensor) -> Tensor:
        return (action @ self.decoder).clamp(-1.0, 1.0)
