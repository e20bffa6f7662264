"""Plans that last for several ticks: the action that is due if the planner fires only every few ticks.

Shapes: B parallel worlds, H horizon, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.module import Module


def is_held(actor: Module) -> bool:
    """Return whether the planner fires only every few ticks, so that a plan arrives more than once."""
    return "plan" in actor.arrivals


def age_of(actor: Module, tick: Tensor) -> Tensor:
    """Return the age (B,) of the arriving plans in ticks, counted from the first tick at which they could be followed.

    Args:
        actor: an actor with the input `plan`.
        tick: ticks since the rows' episodes began, (B,) int64.
    """
    arrival = actor.arrivals.get("plan")
    return torch.zeros_like(tick) if arrival is None else (tick - arrival.delay).clamp(min=0) % arrival.every


def action_at(plan: Tensor, index: Tensor) -> Tensor:
    """Return the actions (B, A) of plans (B, H, A) at steps (B,); after its end a plan repeats its last action."""
    return plan[torch.arange(len(plan), device=plan.device), index.clamp(max=plan.shape[1] - 1)]
