"""A world model of places on a plane, in rooms that a number tells apart: states (room, x, y)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ami.blueprint import Prediction
from ami.module import Callee, Calls, callable_method
from modules.world_model.markov import MarkovWorldModel


class Rooms(MarkovWorldModel):
    """The context is the room; a picture of a room shows where in it, a rebased one where in the world.

    Attributes:
        doors: pairs of rooms, from one to another, between which an imagined way leads.
        shift: distance of what a picture shows, from room r to room r + 1.
    """

    doors: frozenset[tuple[float, float]] = frozenset()
    shift = 0.0

    def infer_dims(self, known):
        return {"S": (3,)}

    def state_of(self, percept: Tensor) -> Tensor:
        return percept

    @callable_method
    def context(self, states: Tensor) -> Tensor:
        return states[..., :1]

    @callable_method
    def rebase_goal(self, goal: Tensor, state: Tensor) -> Tensor:
        goal, state = torch.broadcast_tensors(goal, state)
        moved = goal[..., 1:] + self.shift * (state[..., :1] - goal[..., :1])
        return torch.cat([state[..., :1], moved], dim=-1)

    @callable_method
    def renew(self, states: Tensor, seen: Tensor) -> Tensor:
        states, seen = torch.broadcast_tensors(states, seen)
        return torch.cat([seen[..., :1], states[..., 1:]], dim=-1)

    @callable_method
    def approach(self, states: Tensor, goal: Tensor) -> Tensor:
        rooms = zip(states[..., 0].tolist(), goal[..., 0].tolist(), strict=True)
        leads = [between in self.doors for between in rooms]
        return torch.where(torch.tensor(leads), 0.0, self.distance(states, goal))

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        return torch.linalg.vector_norm(states[..., 1:] - goal[..., 1:], dim=-1)

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise=None) -> Prediction:
        moved = torch.cat([torch.zeros_like(actions[..., :1]), actions[..., :2]], dim=-1).cumsum(2)
        return Prediction(state[:, None, None] + moved)


def rooms(doors: Iterable[tuple[float, float]] = (), shift: float = 0.0) -> Rooms:
    made = Rooms()
    made.doors, made.shift = frozenset(doors), shift
    made.set_up({"P": (3,), "S": (3,), "Q": (3,), "A": 2, "U": 2})
    return made


def calling_rooms(module, name: str = "world_model", **given):
    """The module with its calls to a world model bound to `Rooms`."""
    module.calls = Calls(type(module).role, {name: Callee(name, rooms(**given))})
    return module


def state(room: float, x: float, y: float = 0.0) -> list[float]:
    return [float(room), float(x), float(y)]
