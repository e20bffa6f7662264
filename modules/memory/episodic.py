"""Episodic memory: a soft key-value store of the states of one episode (paper, section 4.9).

Shapes: B parallel worlds, k best matches, F the size of a state, flattened.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modules.memory._state_slots import StateSlots


class Episodic(StateSlots):
    """Soft reads, writes by interpolation, a new slot for a new state (LeCun 2022, section 4.9).

    A tick first reads, so that a state does not recall itself, and then writes. d² is a mean square over the features.
    Settings and the outputs on demand: `StateSlots`.

    * read: recall = Σ cⱼ keyⱼ, c = softmax(-d² / temperature) over the exact top-k slots; score is the best slot's
      exp(-d² / temperature), 0 while the memory is empty.
    * write: into the nearest slot, key ← key + rate · (state - key), and its energy likewise; if the nearest is
      farther than `novelty`, into an empty slot, or over the least recently written one.
    """

    def step(self, state: Tensor, energy: Tensor, surprise: Tensor | None = None,
             goal: Tensor | None = None) -> dict[str, Tensor]:
        query = state.flatten(1)
        near, slots = self._nearest(query, self.top_k)
        found = self._found(slots)
        _, recall, score = self._mixed(near, found)
        outputs = {"recall": recall.view_as(state), "score": score, **self._answers(state, goal, near, found)}
        self._write(query, energy, near[:, 0], slots[:, 0])
        return outputs

    def _write(self, query: Tensor, energy: Tensor, best: Tensor, nearest: Tensor) -> None:
        """Write one state per row; the carry belongs to this module, so it is written in place."""
        keys, energies, written, tick = (self.carry[name] for name in ("keys", "energies", "written", "tick"))
        new = best > self.novelty**2
        at = (torch.arange(len(query), device=query.device), torch.where(new, written.argmin(-1), nearest))
        share = torch.where(new, 1.0, self.rate)
        keys[at] = torch.lerp(keys[at], query, share[:, None])
        energies[at] = torch.lerp(energies[at], energy, share)
        written[at] = tick
        tick += 1
