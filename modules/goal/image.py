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

    Computed at an episode's first tick and after weights were published; with `changes` also where the goal observation
    differs from that of the tick before.

    Args:
        changes: whether the goal changes within an episode; if not, such changes are ignored, which saves the comparison.
    """

    requires = {
        "perception": Call(("encode",), {"O": "G"}),
        "world_model": Call(("goal_of",), {"Q": "Q"}),
    }

    def __init__(self, changes: bool = False) -> None:
        super().__init__()
        self.changes = changes

    def initial(self, batch: int) -> dict[str, Tensor]:
        goal = torch.zeros(batch, *self.outputs["goal"].shape(self.dims))
        carry = {"goal": goal, "pending": torch.ones(batch, dtype=torch.bool)}
        if self.changes:
            carry["observation"] = torch.zeros(batch, *self.inputs["observation"].shape(self.dims))
        return carry

    def weights_changed(self) -> None:
        if self.carry:
            self.carry = {**self.carry, "pending": torch.ones_like(self.carry["pending"])}

    def step(self, observation: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:
        pending = self.carry["pending"]
        if self.changes:
            seen = observation.float()
            pending = pending | (self.carry["observation"] != seen).flatten(1).any(1)
            self.carry = {**self.carry, "observation": seen}
        if bool(pending.any()):
            # encoding all rows is cheaper than selecting the pending ones
            seen = self.calls.world_model.goal_of(self.calls.perception.encode(observation))
            where = pending.view(-1, *[1] * (seen.ndim - 1))
            self.carry = {**self.carry, "goal": torch.where(where, seen, self.carry["goal"]),
                          "pending": torch.zeros_like(pending)}
        return {"goal": self.carry["goal"]}
