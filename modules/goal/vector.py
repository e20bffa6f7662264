"""A goal given as a state, passed on unchanged."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ami.blueprint import Goal
from ami.ports import Size


class VectorGoal(Goal):
    """The world's goal is the goal state, as float32: S = G. For worlds observed as their state."""

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"S": known["G"]} if "G" in known else {}

    def step(self, observation: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:
        return {"goal": observation.float()}
