"""The world shows its goal as an observation: see it with the mind's own eyes.

Shapes: B parallel worlds, G the size of a goal observation, S of a state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Goal
from ami.module import Call


class ImageGoal(Goal):
    """The wanted state is what the world model believes on seeing the goal: goal = believe(encode(observation)).

    Computed once per episode, at its first tick: a goal that changes within an episode is not seen.
    """

    wants = {
        "perception": Call(("encode",), {"O": "G"}),
        "world_model": Call(("believe",), {"S": "S"}),
    }

    def initial(self, batch: int) -> dict[str, Tensor]:
        size = self.dims["S"]
        shape = size if isinstance(size, tuple) else (size,)
        return {"goal": torch.zeros(batch, *shape), "pending": torch.ones(batch, dtype=torch.bool)}

    def step(self, observation: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        pending = self.carry["pending"]
        if bool(pending.any()):
            # all rows at once, as they come, costs less than picking the pending ones
            seen = self.calls.world_model.believe(self.calls.perception.encode(observation))
            where = pending.view(-1, *[1] * (seen.ndim - 1))
            self.carry = {"goal": torch.where(where, seen, self.carry["goal"]), "pending": torch.zeros_like(pending)}
        return {"goal": self.carry["goal"]}
