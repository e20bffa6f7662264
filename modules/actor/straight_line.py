"""Straight line to the goal: the scripted baseline for worlds observed as their state.

Shapes: B parallel worlds, A action width, S the size of a state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Actor
from ami.errors import require
from ami.ports import Dims


class StraightLine(Actor):
    """action = gain · (goal - state), the first A numbers of each, its norm clipped to 1.

    Args:
        gain: action per unit of distance; 1 / (length of a full step) reaches the goal without overshooting.

    Raises:
        SettingError: the gain is not positive, actions are discrete, or a state is no vector of A numbers or more.
    """

    ignores = ("mode", "plan")

    def __init__(self, gain: float = 0.5) -> None:
        super().__init__()
        require(gain > 0, f"StraightLine.gain is {gain}: expected more than 0")
        self.gain = gain

    def build(self, dims: Dims) -> None:
        state, width = self.inputs["state"].shape(dims), self.outputs["action"].shape(dims)[0]
        require(self.actions is None or not self.actions.choices,
                f"StraightLine walks with continuous actions, but here an action is {self.actions}. Fix: actor=random")
        require(self.inputs["goal"].shape(dims) == state,
                f"StraightLine walks from states of the shape {state} to goals of {self.inputs['goal'].shape(dims)}: "
                "expected one shape. Fix: world.observe=state and perception=identity")
        require(len(state) == 1 and state[0] >= width,
                f"StraightLine was given states of the shape {state}: expected a vector that begins with a position of "
                f"{width} numbers. Fix: world.observe=state and perception=identity")

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor | None = None) -> dict[str, Tensor]:
        width = self.outputs["action"].shape(self.dims)[0]
        towards = self.gain * (goal - state)[:, :width]
        return {"action": towards / torch.linalg.vector_norm(towards, dim=-1, keepdim=True).clamp(min=1.0)}
