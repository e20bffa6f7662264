"""A goal given as an observation, encoded with the agent's own perception.

Shapes: B parallel worlds, G the size of a goal observation, Q of a goal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Goal
from ami.module import Call


class ImageGoal(Goal):
    """The goal is the encoded goal observation: goal = goal_of(encode(observation)).

    Computed once per episode, at its first tick, and again after weights were published: changes of the goal within an
    episode are ignored.
    """

    requires = {
        "perception": Call(("encode",), {"O": "G"}),
        "world_model": Call(("goal_of",), {"Q": "Q"}),
    }

    def initial(self, batch: int) -> dict[str, Tensor]:
        goal = torch.zeros(batch, *self.outputs["goal"].shape(self.dims))
        return {"goal": goal, "pending": torch.ones(batch, dtype=torch.bool)}

    def weights_changed(self) -> None:
        if self.carry:
            self.carry = {**self.carry, "pending": torch.ones_like(self.carry["pending"])}

    def step(self, observation: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:
        pending = self.carry["pending"]
        if bool(pending.any()):
            # encoding all rows is cheaper than selecting the pending ones
            seen = self.calls.world_model.goal_of(self.calls.perception.encode(observation))
            where = pending.view(-1, *[1] * (seen.ndim - 1))
            self.carry = {"goal": torch.where(where, seen, self.carry["goal"]), "pending": torch.zeros_like(pending)}
        return {"goal": self.carry["goal"]}
