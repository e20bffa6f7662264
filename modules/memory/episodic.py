"""Episodic memory: a soft key-value store of the states of one episode (paper, section 4.9).

Shapes: B parallel worlds, N slots, k best matches, S the size of a state, F = S flattened.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from ami.blueprint import Memory
from ami.errors import require
from ami.ports import Port, Size

FAR = 1e30
"""The distance to an empty slot: large, so that it matches nothing, and finite, so that the softmax is defined."""


class Episodic(Memory):
    """Soft reads, writes by interpolation, a new slot for a new state (LeCun 2022, section 4.9).

    A tick first reads, so that a state does not recall itself, and then writes. d² is a mean square over the features.

    * read: recall = Σ cⱼ keyⱼ, c = softmax(-d² / temperature) over the exact top-k slots; score is the best slot's
      exp(-d² / temperature), 0 while the memory is empty. `nearest`, if a wire reads it, holds the keys of these k slots,
      with the current state in place of an empty slot.
    * write: into the nearest slot, key ← key + rate · (state - key), and its energy likewise; if the nearest is
      farther than `novelty`, into an empty slot, or over the least recently written one.

    Args:
        num_slots: N, number of states kept per world.
        top_k: number of slots mixed in a read.
        temperature: of the softmax, in units of d².
        novelty: the distance d beyond which a state is new.
        rate: weight of the new state in an interpolation, 0 to 1.

    Raises:
        SettingError: a setting is out of its range.
    """

    outputs = {**Memory.outputs, "nearest": Port("remembered", ("M", "*S"))}
    on_demand = ("nearest",)

    def __init__(self, num_slots: int = 64, top_k: int = 4, temperature: float = 0.05, novelty: float = 0.1,
                 rate: float = 0.5) -> None:
        super().__init__()
        require(num_slots >= 1, f"Episodic.num_slots is {num_slots}: expected 1 or more")
        require(1 <= top_k <= num_slots, f"Episodic.top_k is {top_k}: expected 1 to num_slots, {num_slots}")
        require(temperature > 0, f"Episodic.temperature is {temperature}: expected more than 0")
        require(novelty >= 0, f"Episodic.novelty is {novelty}: expected 0 or more")
        require(0 <= rate <= 1, f"Episodic.rate is {rate}: expected 0 to 1")
        self.num_slots, self.top_k = num_slots, top_k
        self.temperature, self.novelty, self.rate = temperature, novelty, rate

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"M": self.top_k}

    def initial(self, batch: int) -> dict[str, Tensor]:
        size = self.dims["S"]
        features = prod(size) if isinstance(size, tuple) else size
        return {
            "keys": torch.zeros(batch, self.num_slots, features),
            "energies": torch.zeros(batch, self.num_slots),
            "written": torch.full((batch, self.num_slots), -1, dtype=torch.int64),  # the tick, -1 for an empty slot
            "tick": torch.zeros(batch, dtype=torch.int64),
        }

    def step(self, state: Tensor, energy: Tensor, surprise: Tensor | None = None) -> dict[str, Tensor]:
        keys, written = self.carry["keys"], self.carry["written"]
        query = state.flatten(1)
        distance = (keys - query[:, None]).square_().mean(-1).masked_fill_(written < 0, FAR)  # (B, N)
        near, slots = distance.topk(self.top_k, largest=False)  # (B, k)
        rows = torch.arange(len(query), device=query.device)
        weights = torch.softmax(near / -self.temperature, -1)
        found = keys[rows[:, None], slots]  # (B, k, F)
        recall = (weights[:, None] @ found)[:, 0]  # (B, F)
        best = near[:, 0]
        outputs = {"recall": recall.view_as(state), "score": torch.exp(best / -self.temperature)}
        if "nearest" in self.outputs:
            found = torch.where((near < FAR)[..., None], found, query[:, None])
            outputs["nearest"] = found.unflatten(-1, state.shape[1:])
        self._write(rows, query, energy, best, slots[:, 0])
        return outputs

    def _write(self, rows: Tensor, query: Tensor, energy: Tensor, best: Tensor, nearest: Tensor) -> None:
        """Write one state per row; the carry belongs to this module, so it is written in place."""
        keys, energies, written, tick = (self.carry[name] for name in ("keys", "energies", "written", "tick"))
        new = best > self.novelty**2
        at = (rows, torch.where(new, written.argmin(-1), nearest))
        share = torch.where(new, 1.0, self.rate)
        keys[at] = torch.lerp(keys[at], query, share[:, None])
        energies[at] = torch.lerp(energies[at], energy, share)
        written[at] = tick
        tick += 1
