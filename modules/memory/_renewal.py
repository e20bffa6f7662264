"""Which remembered states belong to surroundings that look otherwise now: a room after one of its doors was shut.

Shapes: B parallel worlds, N slots, S the size of a state, M the slots that are found.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.module import Callee
from modules.memory._map_memory import FAR


def changed(model: Callee, states: Tensor, apart: Tensor, state: Tensor, at: Tensor, same: float, most: float,
            drift: float) -> tuple[Tensor, Tensor]:
    """Return rows (M,) and slots (M,) of the surroundings that a state is in, if their context has changed.

    The context is then unknown, but similar to that of a slot, and what the state shows puts the agent there where it is
    believed to be: in other surroundings of a similar look, it would be elsewhere.

    Args:
        states: (B, N, *S), in the slots.
        apart: (B, N), d² of their contexts to the state's; `FAR` for an empty slot.
        state: (B, *S).
        at: (B,) bool, the rows in which there is one.
        same: d² below which two contexts are one.
        most: d² below which two may be one.
        drift: greatest distance between where a slot puts the agent and where it is believed to be.
    """
    nearest = apart.amin(1)
    unknown = at & (nearest > same) & (nearest < most)
    row, slot = ((apart < most) & unknown[:, None]).nonzero(as_tuple=True)
    if not len(row):
        return row, slot
    away = torch.full_like(apart, FAR)
    away[row, slot] = model.distance(model.rebase_goal(state[row], states[row, slot]), state[row])
    least, best = away.min(1)
    rows = (least <= drift).nonzero()[:, 0]
    old = model.context(states[rows, best[rows]])
    difference = (model.context(states[rows]) - old[:, None]).square().mean(-1)
    which, slot = ((difference <= same) & (apart[rows] < FAR / 2)).nonzero(as_tuple=True)
    return rows[which], slot


def renew(carry: dict[str, Tensor], model: Callee, row: Tensor, slot: Tensor, state: Tensor) -> None:
    """Give the states in slots (M,) of rows (M,) the context of a state (B, *S); answers of these rows no longer hold."""
    states = model.renew(carry["states"][row, slot], state[row])
    context = model.context(states)
    carry["states"][row, slot], carry["keys"][row, :, slot] = states, context
    carry["lengths"][row, slot] = context.square().mean(-1)
    carry["holds"][row] = False
