"""Wandering: straight ahead in a heading until something is hit, to collect experience in worlds with walls.

Shapes: B parallel worlds, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Actor
from ami.errors import require
from ami.ports import Dims, Port


class Wander(Actor):
    """Full speed in a random direction, uniform on the unit sphere; a new one after a bump, or with probability `turn`.

    Reads bumps from the world's port that is wired to `body`, a vector; without that wire it turns by chance alone.

    Args:
        turn: the probability of a new heading per tick, 0 to 1.
        bump: the index of the bump in `body`: a number above 0 if the last action was stopped.

    Raises:
        SettingError: a setting is out of its range, actions are discrete, or `body` is too short.
    """

    inputs = {**Actor.inputs, "body": Port("observation", ("*Y",), optional=True)}
    ignores = ("state", "goal", "mode", "plan")

    def __init__(self, turn: float = 0.06, bump: int = 2) -> None:
        super().__init__()
        require(0 <= turn <= 1, f"Wander.turn is {turn}: expected 0 to 1")
        require(bump >= 0, f"Wander.bump is {bump}: expected an index, 0 or more")
        self.turn, self.bump = turn, bump

    def build(self, dims: Dims) -> None:
        require(self.actions is None or not self.actions.choices,
                f"Wander walks with continuous actions, but here an action is {self.actions}. Fix: actor=random")
        (self.width,) = self.outputs["action"].shape(dims)
        if "Y" in dims:
            body = self.inputs["body"].shape(dims)
            require(len(body) == 1 and body[0] > self.bump,
                    f"Wander.bump is {self.bump}, but body has the shape {body}: expected a vector with that entry")

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"heading": torch.zeros(batch, self.width), "begun": torch.zeros(batch, 1, dtype=torch.bool)}

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor | None = None,
             body: Tensor | None = None) -> dict[str, Tensor]:
        drawn = self.random.normal(self.width)
        turns = self.random.uniform(0.0, 1.0, 1) < self.turn
        if body is not None:
            turns |= body[:, self.bump, None] > 0
        heading = drawn / torch.linalg.vector_norm(drawn, dim=-1, keepdim=True)
        heading = torch.where(turns | ~self.carry["begun"], heading, self.carry["heading"])
        self.carry = {"heading": heading, "begun": torch.ones_like(turns)}
        return {"action": heading}
