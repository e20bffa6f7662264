"""Recurrent memory: what is worth keeping of an episode is learnt, as the hidden state of a GRU over percepts.

Shapes: B parallel worlds; N sequences of T percepts, P the size of a percept, S the width of a state, R that of the memory.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ami.blueprint import Memory
from ami.errors import require
from ami.module import callable_method
from ami.ports import Dims, Port, shape_of


class Recurrent(Memory):
    """Recalls h ← GRU(percept, h) (Cho and others, *Learning phrase representations*, 2014) in a state's last R numbers.

    For world models whose state is a percept and R recalled numbers: R is what the state has beyond the percept; the others
    are 0. It learns by the loss of that world model, which calls `recall_of`. The score is always 0: nothing is matched.

    Raises:
        SettingError: when the graph is built, a state is no vector longer than a percept.
    """

    inputs = {**Memory.inputs, "percept": Port("percept", ("*P",))}
    ignores = ("state", "energy", "surprise")

    def build(self, dims: Dims) -> None:
        percept, state = prod(shape_of(dims, "P")), shape_of(dims, "S")
        require(len(state) == 1 and state[0] > percept,
                f"Recurrent remembers in what a state has beyond a percept, but a state is {state} and a percept has "
                f"{percept} numbers: expected a longer vector. Fix: world_model=memory_jepa")
        self._width = state[0] - percept
        self.cell = nn.GRU(percept, self._width, batch_first=True)

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"recall": torch.zeros(batch, *shape_of(self.dims, "S"))}

    def step(self, state: Tensor, energy: Tensor, percept: Tensor, surprise: Tensor | None = None) -> dict[str, Tensor]:
        recall = self.recall_of(percept[:, None], self.carry["recall"])[:, 0]
        self.carry = {"recall": recall}
        return {"recall": recall.clone(), "score": torch.zeros_like(energy)}

    @callable_method
    def recall_of(self, percepts: Tensor, before: Tensor) -> Tensor:
        """Return the recall at each of a sequence of percepts: (N, T, *P), the recall before them (N, S) to (N, T, S)."""
        hidden, _ = self.cell(percepts.flatten(2), before[None, :, -self._width:].contiguous())
        return torch.cat([hidden.new_zeros(*hidden.shape[:2], before.shape[1] - self._width), hidden], dim=-1)
