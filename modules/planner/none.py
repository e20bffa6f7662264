"""No planner: zero plans."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.blueprint import Planner
from ami.module import Call
from ami.ports import Size


class NoPlanner(Planner):
    """Outputs a plan of one zero action and an unchanged imagined state, for reactive agents."""

    requires: dict[str, Call] = {}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"H": 1}

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        batch, width = len(state), self.dims["U"]
        return {
            "plan": state.new_zeros(batch, 1, *(width if isinstance(width, tuple) else (width,))),
            "imagined": state[:, None],
            "energy": state.new_zeros(batch),
            "model_steps": torch.zeros_like(mode),
        }
