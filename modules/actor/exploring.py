"""Exploration: random actions with a given probability, for collecting experience.

Shapes: B parallel worlds, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.module import Module


def explored(actor: Module, action: Tensor, share: float, allowed: Tensor | None = None) -> Tensor:
    """Replace a share of the actions (B, A) by random ones from the actor's own streams; nothing is drawn for 0.

    Discrete actions are drawn from `allowed` (B, A) bool; None allows all.
    """
    if not share:
        return action
    width = action.shape[1]
    drawn = actor.random.uniform(0.0, 1.0, 1 + width).to(action.device)
    whether, noise = drawn[:, :1], drawn[:, 1:]
    random = 2 * noise - 1
    if actor.actions is not None and actor.actions.choices:  # the argmax of i.i.d. draws is uniform
        random = actor.actions.nearest(random, allowed).to(action)
    return torch.where(whether < share, random, action)
