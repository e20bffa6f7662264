"""A world model of places on a plane, in rooms that a number tells apart: states (room, x, y)."""

import torch
from torch import Tensor

from ami.blueprint import Prediction
from ami.module import Callee, Calls, callable_method
from modules.world_model.markov import MarkovWorldModel


class Rooms(MarkovWorldModel):
    """The context is the room; a picture of a room shows where in it, a rebased one where in the world."""

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
        return torch.cat([state[..., :1], goal[..., 1:]], dim=-1)

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        return torch.linalg.vector_norm(states[..., 1:] - goal[..., 1:], dim=-1)

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise=None) -> Prediction:
        moved = torch.cat([torch.zeros_like(actions[..., :1]), actions[..., :2]], dim=-1).cumsum(2)
        return Prediction(state[:, None, None] + moved)


def rooms() -> Rooms:
    made = Rooms()
    made.set_up({"P": (3,), "S": (3,), "Q": (3,), "A": 2, "U": 2})
    return made


def calling_rooms(module, name: str = "world_model"):
    """The module with its calls to a world model bound to `Rooms`."""
    module.calls = Calls(type(module).role, {name: Callee(name, rooms())})
    return module


def state(room: float, x: float, y: float = 0.0) -> list[float]:
    return [float(room), float(x), float(y)]
