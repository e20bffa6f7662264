"""Wish: the goal that the configurator chose among those that memory knows.

Shapes: B parallel worlds, S the size of a state, W = 2 goals.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.blueprint import Goal
from ami.ports import Port, Size

ERRAND, RELIEF = 0, 1
"""The goals that a wish chooses from."""


class Wish(Goal):
    """Sends the goal of number `wish`: 0 is where the goal picture's surroundings were seen, 1 where relief was felt.

    `goals` are both, and `known` whether memory knows them, for a planner that reports how far each is.
    """

    inputs = {
        "wanted": Port("recall", ("*S",)), "wanted_score": Port("score"),
        "relief": Port("recall", ("*S",)), "relief_score": Port("score"),
        "wish": Port("wish", (), torch.int64),
    }
    outputs = {**Goal.outputs, "goals": Port("goals", ("G", "*Q")), "known": Port("flag", ("G",), torch.bool)}
    requires = {}
    equal_dims = {"Q": "S"}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"G": 2}

    def step(self, wanted: Tensor, wanted_score: Tensor, relief: Tensor, relief_score: Tensor,
             wish: Tensor) -> dict[str, Tensor]:
        goals = torch.stack([wanted, relief], dim=1)
        known = torch.stack([wanted_score, relief_score], dim=1) > 0
        chosen = goals[torch.arange(len(goals), device=goals.device), wish.to(goals.device)]
        return {"goal": chosen, "goals": goals, "known": known.cpu()}
