"""The role of the goal: the goal of the task in the space of the world model."""

from __future__ import annotations

from typing import ClassVar

import torch

from ami.module import Call, Module
from ami.ports import Port


class Goal(Module):
    """Encodes the task's goal in the space of the world model's `distance`.

    The paper leaves goals to the configurator (section 6).
    """

    role: ClassVar[str] = "goal"
    inputs = {
        "observation": Port("goal_observation", ("*G",), None),
        "mode": Port("mode", (), torch.int64, optional=True),
    }
    outputs = {"goal": Port("goal", ("*Q",))}
    requires = {
        "perception": Call(("encode",), optional=True),
        "world_model": Call(("goal_of",), {"Q": "Q", "S": "S"}, optional=True),
    }
