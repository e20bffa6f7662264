"""Wish: the goal that the configurator chose among those that memory knows.

Shapes: B parallel worlds, S the size of a state, G = 2 goals.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.blueprint import Goal
from ami.ports import Port, Size


class Wish(Goal):
    """Sends the goal of number `wish`: 0 is where the goal picture's surroundings were seen, 1 where relief was felt.

    A wish for relief that was never felt is a wish for the goal. `goals` are both, for a planner that reports their ways.
    """

    inputs = {
        "wanted": Port("recall", ("*S",)), "relief": Port("recall", ("*S",)), "relief_score": Port("score"),
        "wish": Port("wish", (), torch.int64),
    }
    outputs = {**Goal.outputs, "goals": Port("goals", ("G", "*Q"))}
    requires = {}
    equal_dims = {"Q": "S"}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"G": 2}

    def step(self, wanted: Tensor, relief: Tensor, relief_score: Tensor, wish: Tensor) -> dict[str, Tensor]:
        goals = torch.stack([wanted, relief], dim=1)
        chosen = torch.where(relief_score > 0, wish.to(goals.device), 0)
        return {"goal": goals[torch.arange(len(goals), device=goals.device), chosen], "goals": goals}
