"""An actor that follows its plan and has no mask input, as a user's may."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Actor


class Maskless(Actor):
    """Sends the plan's first action."""

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor) -> dict[str, Tensor]:
        return {"action": plan[:, 0]}
