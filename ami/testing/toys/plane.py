"""Plane: a point on a plane, the world of the toys. The observation is its position; it can have momentum.

Shapes: B parallel worlds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ami.blueprint import World
from ami.module import Episode
from ami.ports import ActionSpace, Port, Size

STEP = 0.2
"""The change of the velocity by a full action."""
NEAR = 0.15
"""The distance to the goal below which an episode is solved."""


class Plane(World):
    """Velocity v ← momentum · v + STEP · action, position p ← p + v; the episode terminates near the goal.

    Args:
        momentum: 0 or more, less than 1; with 0 the position is a Markov state.
        length: the number of ticks after which an episode is truncated.
    """

    outputs = {**World.outputs, "observation": Port("observation", ("*O",)), "goal": Port("goal_observation", ("*G",))}

    def __init__(self, momentum: float = 0.0, length: int = 20) -> None:
        super().__init__()
        self.momentum, self.length = momentum, length
        self.space = ActionSpace(2)
        self.inputs = {"action": Port("action", ("A",), space=self.space)}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"O": (2,), "G": (2,), "A": 2, "X": 4}

    def initial(self, batch: int) -> dict[str, Tensor]:
        whole = {name: torch.zeros(batch, 2) for name in ("position", "velocity", "goal")}
        return {**whole, "age": torch.full((batch,), -1), "number": torch.zeros(batch, dtype=torch.int64),
                "solved": torch.zeros(batch, dtype=torch.bool)}

    def begin(self, mask: Tensor, episodes: Sequence[Episode]) -> None:
        super().begin(mask, episodes)
        for row in mask.nonzero()[:, 0].tolist():
            self.carry["number"][row] = episodes[row].number
            generator = torch.Generator().manual_seed(episodes[row].seed)
            self.carry["position"][row], self.carry["goal"][row] = torch.rand(2, 2, generator=generator) * 2 - 1

    def step(self, action: Tensor) -> dict[str, Tensor]:
        begun, over = self.carry["age"] >= 0, self.carry["solved"] | (self.carry["age"] >= self.length)
        moves = (begun & ~over)[:, None]
        velocity = torch.where(moves, self.momentum * self.carry["velocity"] + STEP * action, self.carry["velocity"])
        position = torch.where(moves, self.carry["position"] + velocity, self.carry["position"])
        age = torch.where(over, self.carry["age"], self.carry["age"] + 1)
        goal = self.carry["goal"]
        away = torch.linalg.vector_norm(position - goal, dim=-1)
        solved = (away < NEAR) & (age > 0)
        self.carry = {**self.carry, "position": position, "velocity": velocity, "age": age, "solved": solved}
        return {"observation": position, "goal": goal, "reward": torch.where(age > 0, -away, 0.0), "terminated": solved,
                "truncated": ~solved & (age >= self.length), "success": solved, "truth": torch.cat([position, velocity], 1),
                "episode": torch.where(over, -1, self.carry["number"])}
