"""No memory: zero recall."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.module import callable_method
from ami.ports import Port, Size
from modules.memory._map_memory import MapMemory


class NoMemory(MapMemory):
    """Answers zeros with score 0 and keeps nothing: the control for the value of a memory. `nearest` is the present state
    alone."""

    outputs = {**MapMemory.outputs, "nearest": Port("remembered", ("M", "*S"))}
    on_demand = (*MapMemory.on_demand, "nearest")

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"M": 1, "N": 1, "L": 1}

    def step(self, state: Tensor, energy: Tensor, surprise: Tensor | None = None) -> dict[str, Tensor]:
        answers = {name: torch.zeros(len(state), *port.shape(self.dims), dtype=port.dtype, device=state.device)
                   for name, port in self.outputs.items()}
        if "links" in answers:
            answers["links"] -= 1
        if "nearest" in answers:
            answers["nearest"] = state[:, None].clone()
        return answers

    @callable_method
    def recall_of(self, percepts: Tensor, before: Tensor) -> Tensor:
        """Return zeros at each of a sequence of percepts: (N, T, *P), the recall before them (N, *S) to (N, T, *S)."""
        return torch.zeros_like(before)[:, None].repeat(1, percepts.shape[1], *[1] * (before.ndim - 1))
