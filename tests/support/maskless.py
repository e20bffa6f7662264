"""An actor and a planner without a mask input, as a user's may be."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ami.blueprint import Actor, Planner
from ami.ports import Size


class Maskless(Actor):
    """Sends the plan's first action."""

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor) -> dict[str, Tensor]:
        return {"action": plan[:, 0]}


class MasklessPlanner(Planner):
    """Sends a plan of zeros."""

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"H": 2}
