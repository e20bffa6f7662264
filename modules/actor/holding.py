"""Holding a plan: which of its actions is due, where a planner fires only every few ticks.

Shapes: B parallel worlds, H horizon, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.module import Module


def is_held(actor: Module) -> bool:
    """Whether a plan arrives more than once: its planner fires only every few ticks."""
    return "plan" in actor.arrivals


def age_of(actor: Module, tick: Tensor) -> Tensor:
    """How many ticks ago the arriving plans were made, (B,), counted from those at which they could first be followed.

    Args:
        actor: which receives plans by its input `plan`.
        tick: how many ticks ago the rows' episodes began, (B,) int64.
    """
    arrival = actor.arrivals.get("plan")
    return torch.zeros_like(tick) if arrival is None else (tick - arrival.delay).clamp(min=0) % arrival.every


def action_at(plan: Tensor, index: Tensor) -> Tensor:
    """The actions (B, A) of plans (B, H, A) at steps (B,); one that is used up goes on with its last action."""
    return plan[torch.arange(len(plan), device=plan.device), index.clamp(max=plan.shape[1] - 1)]
