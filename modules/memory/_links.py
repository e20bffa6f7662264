"""Links between the slots of a map, made both ways.

Shapes: B parallel worlds, N slots, L links per slot; R pairs of slots, with their rows. `links` (B, N, L) holds slots, -1
for none; `linked` (B, N) the number of links that a slot ever made. Both are changed in place.
"""

from __future__ import annotations

from torch import Tensor

NONE = -1


def unlinked(links: Tensor, rows: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return the indices of the pairs whose first slot (R,) has no link to the other (R,)."""
    return (links[rows, one] != other[:, None]).all(1).nonzero()[:, 0]


def link(links: Tensor, linked: Tensor, rows: Tensor, one: Tensor, other: Tensor) -> None:
    """Link slots (R,), of distinct (row, slot), to other ones; the oldest link of a slot is replaced."""
    count = linked[rows, one]
    links[rows, one, count % links.shape[-1]] = other
    linked[rows, one] = count + 1


def cut(links: Tensor, linked: Tensor, rows: Tensor, slot: Tensor) -> None:
    """Remove the links that lead to slots (R,), of distinct (row, slot)."""
    # links are made both ways: unless a slot replaced some of its own, they lead to all slots that lead to it
    own = links[rows, slot]
    which, place = (own >= 0).nonzero(as_tuple=True)
    at = (rows[which], own[which, place])
    links[at] = links[at].masked_fill(links[at] == slot[which, None], NONE)
    replaced = linked[rows, slot] > links.shape[-1]
    if bool(replaced.any()):
        rows, slot = rows[replaced], slot[replaced]
        which, one, place = (links[rows] == slot[:, None, None]).nonzero(as_tuple=True)
        links[rows[which], one, place] = NONE
