"""The role of the planner: a search for actions of low energy."""

from __future__ import annotations

from typing import ClassVar

import torch

from ami.module import Call, Module
from ami.ports import Port

PLAN_MASK = Port("mask", ("U",), torch.bool, optional=True)
"""The input `action_mask` of a planner, whose actions have the width U."""


class Planner(Module):
    """Mode-2: searches for actions whose imagined outcome has low energy (paper, section 3.1.2)."""

    role: ClassVar[str] = "planner"
    inputs = {
        "state": Port("state", ("*S",)),
        "goal": Port("goal", ("*Q",)),
        "mode": Port("mode", (), torch.int64),
        "weights": Port("weights", ("W",), optional=True),
    }
    outputs = {
        "plan": Port("plan", ("H", "U")),
        "imagined": Port("imagined", ("H", "*S")),
        "energy": Port("energy"),
        "model_steps": Port("count", (), torch.int64),
    }
    requires = {
        "world_model": Call(("imagine",), {"S": "S", "U": "U", "Z": "Z"}),
        "cost": Call(("energy",), {"S": "S", "Q": "Q", "W": "W"}),
    }
