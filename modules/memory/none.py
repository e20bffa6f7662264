"""No memory: zero recall."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.blueprint import Memory
from ami.ports import Port, Size


class NoMemory(Memory):
    """Recalls zeros with score 0: the control for the value of a memory. `nearest` is the present state alone."""

    outputs = {**Memory.outputs, "nearest": Port("remembered", ("M", "*S"))}
    on_demand = ("nearest",)

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"M": 1}

    def step(self, state: Tensor, energy: Tensor, surprise: Tensor | None = None) -> dict[str, Tensor]:
        outputs = {"recall": torch.zeros_like(state), "score": torch.zeros_like(energy), "nearest": state[:, None].clone()}
        return {name: outputs[name] for name in self.outputs}
