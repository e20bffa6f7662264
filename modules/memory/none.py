"""No memory: zero recall."""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Memory


class NoMemory(Memory):
    """Recalls zeros with score 0: the control for the value of a memory."""

    def step(self, state: Tensor, energy: Tensor, surprise: Tensor | None = None) -> dict[str, Tensor]:
        return {"recall": torch.zeros_like(state), "score": torch.zeros_like(energy)}
