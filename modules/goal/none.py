"""No goal: for agents driven by reward alone.

Shapes: B parallel worlds, Q the size of a goal.
"""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Goal


class NoGoal(Goal):
    """Outputs zeros, which reward-driven costs ignore."""

    def step(self, observation: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:
        return {"goal": observation.new_zeros(len(observation), *self.outputs["goal"].shape(self.dims)).float()}
