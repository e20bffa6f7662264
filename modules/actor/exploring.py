"""Exploring: now and then an action at random, for gathering experience.

Shapes: B parallel worlds, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.module import Module
from ami.ports import Choices


def explored(actor: Module, action: Tensor, share: float) -> Tensor:
    """Actions (B, A), a share of them replaced by random ones from the actor's own streams; nothing is drawn for 0."""
    if not share:
        return action
    width = action.shape[1]
    drawn = actor.random.uniform(0.0, 1.0, 1 + width).to(action.device)
    whether, noise = drawn[:, :1], drawn[:, 1:]
    if isinstance(actor.dims["A"], Choices):
        random = torch.nn.functional.one_hot(noise.argmax(-1), width).to(action)
    else:
        random = 2 * noise - 1
    return torch.where(whether < share, random, action)
