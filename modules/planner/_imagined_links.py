"""Links between remembered states that were never walked: the world model imagines the way from one to the other.

Shapes: B parallel worlds, R of them, N remembered states, S the size of a state.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ami.module import Callee

FAR = 1e9
"""The length of a way that does not exist; finite, so that sums of it are."""
UNKNOWN, REACHED, MISSED = 0, 1, -1
"""What imagination says of a pair of slots: not imagined yet, the way leads there, it does not."""

Carry = dict[str, Tensor]


class ImaginedLinks(NamedTuple):
    """Two remembered states of different surroundings are linked, too, if ways imagined from each reach the other.

    Imagination also judges links that were walked, once the surroundings of an end have changed: their states are not those
    between which the agent walked.

    Attributes:
        leap: greatest length of an imagined link; 0 for none.
        within: distance from a state at which an imagined way has reached it.
        price: length added to an imagined link.
        denied: length added to a walked link of changed surroundings that is not reached.
    """

    leap: float
    within: float
    price: float
    denied: float

    def initial(self, batch: int, slots: int, size: tuple[int, ...]) -> Carry:
        slots = slots if self.leap else 0
        return {
            "imagined": torch.zeros(batch, slots, slots, dtype=torch.int8),
            "seen": torch.zeros(batch, slots, *size),  # the states in the slots, when they were last looked at
            "known": torch.zeros(batch, slots, dtype=torch.bool),  # whether there was one
            "renewed": torch.zeros(batch, slots, dtype=torch.bool),  # whether one was replaced by another
        }

    def look(self, carry: Carry, rows: Tensor, places: Tensor, kept: Tensor) -> Tensor:
        """Forget what was imagined of slots whose states (R, N, S) are new or have changed; return whether any has (R,)."""
        slots = torch.arange(places.shape[1], device=places.device)
        at = (rows[:, None], slots)
        known = carry["known"][at]
        changed = known & (carry["seen"][at] != places).any(-1)
        which, slot = (changed | (kept & ~known)).nonzero(as_tuple=True)
        carry["imagined"][rows[which], slot] = UNKNOWN
        carry["imagined"][rows[which], :, slot] = UNKNOWN
        carry["seen"][rows[which], slot] = places[which, slot]
        carry["renewed"][at] |= changed
        carry["known"][at] = kept
        return changed.any(1)

    def judge(self, carry: Carry, rows: Tensor, model: Callee, places: Tensor, lengths: Tensor, apart: Tensor,
              linked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Imagine what is unknown; return which edges there are and what they cost more, both (R, N, N), and the number of
        imagined steps (R,).

        Args:
            places: (R, N, S), the states in the slots.
            lengths: (R, N, N), the distances between them.
            apart: (R, N, N) bool, the pairs of states of different surroundings.
            linked: (R, N, N) bool, those that were walked.
        """
        used = places.shape[1]
        renewed = carry["renewed"][rows, :used]
        judged = linked & apart & (renewed[:, :, None] | renewed[:, None])
        leaps = apart & ~linked & (lengths < self.leap)
        tried = judged | judged.transpose(1, 2) | leaps
        steps = torch.zeros(len(rows), device=places.device)
        for back in (False, True):
            known = carry["imagined"][rows, :used, :used]
            # the way back is imagined only if the way there is reached
            due = tried & (known.transpose(1, 2) == REACHED) if back else tried.triu()
            which, one, other = (due & (known == UNKNOWN)).nonzero(as_tuple=True)
            if len(which):
                left = model.approach(places[which, one], places[which, other])
                carry["imagined"][rows[which], one, other] = torch.where(left < self.within, REACHED, MISSED).to(torch.int8)
                steps.index_add_(0, which, lengths[which, one, other].ceil())
        found = carry["imagined"][rows, :used, :used] == REACHED
        reached = found & found.transpose(1, 2)
        extra = torch.where(judged & ~reached, self.denied, torch.where(leaps, self.price, 0.0))
        return linked | (leaps & reached), extra, steps.long()

    def disprove(self, carry: Carry, row: int, model: Callee, state: Tensor, inside: Tensor, slack: float) -> None:
        """Believe in no imagined link that leads past a state (S,) in which the agent did not get ahead.

        Args:
            inside: (N,) bool, the slots of its surroundings.
            slack: detour by the state that a link's way may make and still lead past it.
        """
        places = carry["seen"][row]
        away = model.distance(places, state)
        past = away[:, None] + away[None] < model.distance(places[:, None], places[None]) + slack
        carry["imagined"][row].masked_fill_(past & (inside[:, None] | inside[None]), MISSED)
