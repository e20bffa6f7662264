"""The remembered states around the present one, for novelty-seeking agents.

Shapes: B parallel worlds, M remembered states, S the size of a state.
"""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Goal
from ami.ports import Port


class RecallGoal(Goal):
    """The states that memory finds nearest to the present one, which cost=novelty avoids: (B, M, *S) to (B, *S, M)."""

    inputs = {**Goal.inputs, "recall": Port("remembered", ("M", "*S"))}
    outputs = {"goal": Port("goal", ("*S", "M"))}

    def step(self, observation: Tensor, recall: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:
        return {"goal": recall.movedim(1, -1).contiguous()}
