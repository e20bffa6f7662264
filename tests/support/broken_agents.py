"""Modules with one deliberate fault, for the negative controls."""

from __future__ import annotations

import torch
from torch import Tensor

from ami.module import Batch, callable_method
from modules.perception.conv import Conv
from modules.world_model.jepa import JEPA


class BlindConv(Conv):
    """A perception that replaces every picture with the same grey one."""

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        return super().encode(torch.full_like(observation, 128))


class ShuffledJEPA(JEPA):
    """A world model trained on actions of other windows."""

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        action = batch["action"]
        return super().loss({**batch, "action": action[torch.randperm(len(action))]})
