"""Exploring: now and then an action at random, for gathering experience.

Shapes: B parallel worlds, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.module import Module


def explored(actor: Module, action: Tensor, share: float, allowed: Tensor | None = None) -> Tensor:
    """Actions (B, A), a share of them replaced by random ones from the actor's own streams; nothing is drawn for 0.

    Of alternatives, those of `allowed` (B, A) bool are drawn; None allows all.
    """
    if not share:
        return action
    width = action.shape[1]
    drawn = actor.random.uniform(0.0, 1.0, 1 + width).to(action.device)
    whether, noise = drawn[:, :1], drawn[:, 1:]
    random = 2 * noise - 1
    if actor.actions is not None and actor.actions.choices:  # the largest of equal draws: all alternatives are as likely
        random = actor.actions.nearest(random, allowed).to(action)
    return torch.where(whether < share, random, action)
