"""The role of the configurator: the mode and the weights of the cost."""

from __future__ import annotations

from typing import ClassVar

import torch

from ami.module import Module
from ami.ports import Port


class Configurator(Module):
    """Executive control: sets the mode and the weights of the cost for the task at hand (paper, sections 3 and 6)."""

    role: ClassVar[str] = "configurator"
    inputs = {"energy": Port("energy", optional=True), "surprise": Port("surprise", optional=True)}
    outputs = {"mode": Port("mode", (), torch.int64), "weights": Port("weights", ("W",))}
