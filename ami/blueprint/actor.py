"""The role of the actor: the action of every tick."""

from __future__ import annotations

from typing import ClassVar

import torch

from ami.module import Module
from ami.ports import Port

ACTION_MASK = Port("mask", ("A",), torch.bool, optional=True)
"""The input `action_mask` of an actor that respects its world's mask: True for allowed alternatives.

The mask is valid for the next action only: in a plan, for the first.
"""


class Actor(Module):
    """Proposes actions: a policy in Mode-1, the plan's first steps in Mode-2 (paper, sections 3.1 and 5)."""

    role: ClassVar[str] = "actor"
    inputs = {
        "state": Port("state", ("*S",)),
        "goal": Port("goal", ("*Q",)),
        "mode": Port("mode", (), torch.int64),
        "plan": Port("plan", ("H", "U"), optional=True),
    }
    outputs = {"action": Port("action", ("A",))}
    equal_dims = {"U": "A"}
