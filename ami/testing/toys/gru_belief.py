"""GRU belief: a world model with history. The state is the hidden state of a GRU over percepts and actions.

Shapes: N sequences of T percepts of width P; B parallel worlds, K candidates, H horizon, A action width, D state width.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Carry, Prediction, WorldModel, preceding
from ami.module import Batch
from ami.ports import Dims, Size, shape_of


class GRUBelief(WorldModel):
    """h ← GRU([percept, action], h); an MLP imagines h, and a linear map reads the percept from it, Q = P.

    Args:
        width: D.
    """

    equal_dims = {"Q": "P", "U": "A"}

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"S": (self.width,)}

    def build(self, dims: Dims) -> None:
        self.shape, actions = shape_of(dims, "P"), cast(int, dims["A"])
        self.cell = nn.GRUCell(prod(self.shape) + actions, self.width)
        self.first = nn.Linear(self.width + actions, self.width)
        self.last = nn.Linear(self.width, self.width)
        self.readout = nn.Linear(self.width, prod(self.shape))

    def initial_carry(self, batch: int) -> Carry:
        return {"belief": torch.zeros(batch, self.width)}

    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        belief = percepts.new_zeros(len(percepts), self.width) if carry is None else carry["belief"]
        states = []
        for seen, action in zip(percepts.flatten(2).unbind(1), actions.unbind(1), strict=True):
            belief = self.cell(torch.cat([seen, action], dim=-1), belief)
            states.append(belief)
        return torch.stack(states, dim=1), {"belief": belief}

    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        state, states = state[:, None].expand(-1, actions.shape[1], -1), []
        for action in actions.unbind(2):
            state = state + self.last(self.first(torch.cat([state, action], dim=-1)).relu())
            states.append(state)
        return Prediction(torch.stack(states, dim=2))

    def goal_of(self, percept: Tensor) -> Tensor:
        return percept

    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        seen = self.readout(states)
        apart: Tensor = torch.linalg.vector_norm(seen - goal.flatten(-len(self.shape)), dim=-1)
        return apart

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the error of percepts read from observed states, and from states imagined from the middle of a window."""
        percepts, action = self.percepts_in(batch), batch["action"]
        states, _ = self.observe(percepts, preceding(action))
        middle, wanted = action.shape[1] // 2, percepts.flatten(2)
        imagined = self.imagine(states[:, middle], action[:, None, middle:]).states[:, 0]
        observed = F.mse_loss(self.readout(states), wanted)
        predicted = F.mse_loss(self.readout(imagined), wanted[:, middle + 1:])
        return observed + predicted, {"observed": observed.detach(), "predicted": predicted.detach()}
