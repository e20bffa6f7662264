"""The smallest of many numbers per row, faster than a partial sort of all of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHARE = 4
"""The size of a group."""


def smallest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the smallest of values (R, N), ascending, and their indices, both (R, count).

    The `count` smallest lie in the `count` groups with the smallest minima; only those groups are sorted. Minima are
    vectorised, partial sorts are not.
    """
    groups = -(-values.shape[1] // SHARE)
    if groups <= count:
        near, at = values.topk(count, largest=False)
        return near, at
    if groups * SHARE > values.shape[1]:
        values = F.pad(values, (0, groups * SHARE - values.shape[1]), value=torch.inf)
    grouped = values.view(-1, SHARE, groups)
    best = grouped.amin(1).topk(count, largest=False, sorted=False).indices  # (R, count)
    near, at = grouped.gather(2, best[:, None].expand(-1, SHARE, -1)).flatten(1).topk(count, largest=False)
    return near, at // count * groups + best.gather(1, at % count)
