"""No goal: a mind that wants nothing in particular and lets its cost say what attracts it.

Shapes: B parallel worlds, S the size of a state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Goal
from ami.module import Call


class Curiosity(Goal):
    """The goal is zero, whatever the world shows: for costs that look at no goal, such as cost=curiosity.

    The paper names curiosity among the intrinsic drives that need no task (LeCun 2022, section 4.2).
    """

    wants: dict[str, Call] = {}

    def step(self, observation: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        return {"goal": torch.zeros(len(observation), *self.outputs["goal"].shape(self.dims), device=observation.device)}
