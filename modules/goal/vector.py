"""A goal given as a vector, passed on unchanged."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ami.blueprint import Goal
from ami.ports import Size


class VectorGoal(Goal):
    """The world's goal is the goal, as float32: Q = G. For worlds observed as their state."""

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"Q": known["G"]} if "G" in known else {}

    def step(self, observation: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:
        return {"goal": observation.float()}
