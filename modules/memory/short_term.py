"""Short-term memory: the paper's triplets of time, state and intrinsic energy, perceived and imagined (section 4.9).

Shapes: B parallel worlds, N slots, k best matches, H horizon, S the size of a state, F = S flattened.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from ami.blueprint import Memory
from ami.errors import SettingError, require
from ami.module import Call
from ami.ports import Port, Size

FAR = 1e30
"""The distance to an empty slot: large, so that it matches nothing, and finite, so that the softmax is defined."""


class ShortTerm(Memory):
    """Keeps (time, state, intrinsic energy), marks imagined states, soft reads (LeCun 2022, sections 3 and 4.9).

    A tick first reads, so that a state does not recall itself, and then writes. d² is a mean square over the features.

    * read: recall = Σ cⱼ keyⱼ and energy = Σ cⱼ energyⱼ, c = softmax(-d² / temperature) over the exact top-k slots; score is
      the best slot's exp(-d² / temperature), 0 while the memory is empty; `imagined` is the share of c on imagined states;
      `nearest`, if a wire reads it, holds the keys of these k slots, with the current state in place of an empty slot.
    * write: into the nearest slot by interpolation, or into a new one if the nearest is farther than `novelty`: an empty
      slot, else the least recently written imagined one, else the least recently written perceived one.

    Perceived states have priority: a perceived state overwrites a near imagined slot, an imagined state leaves a near
    perceived slot unchanged. Imagined states come from the planner, delayed by one tick, and their energy from the cost:
    `graph: {memory: {imagined: planner.imagined@-1, goal: goal.goal, calls: {cost: cost}}}`.

    Args:
        num_slots: N, number of states kept per world.
        top_k: number of slots mixed in a read.
        temperature: of the softmax, in units of d².
        novelty: the distance d beyond which a state is new.
        rate: weight of the new state in an interpolation, 0 to 1.

    Raises:
        SettingError: a setting is out of its range, or imagined states arrive without a source of their energy.
    """

    inputs = {
        **Memory.inputs,
        "imagined": Port("imagined", ("H", "*S"), optional=True),
        "goal": Port("goal", ("*S",), optional=True),
    }
    outputs = {**Memory.outputs, "energy": Port("energy"), "imagined": Port("score"),
               "nearest": Port("remembered", ("M", "*S"))}
    on_demand = ("nearest",)
    requires = {"cost": Call(("intrinsic_energy",), {"S": "S"}, optional=True)}

    def __init__(self, num_slots: int = 64, top_k: int = 4, temperature: float = 0.05, novelty: float = 0.1,
                 rate: float = 0.5) -> None:
        super().__init__()
        require(num_slots >= 1, f"ShortTerm.num_slots is {num_slots}: expected 1 or more")
        require(1 <= top_k <= num_slots, f"ShortTerm.top_k is {top_k}: expected 1 to num_slots, {num_slots}")
        require(temperature > 0, f"ShortTerm.temperature is {temperature}: expected more than 0")
        require(novelty >= 0, f"ShortTerm.novelty is {novelty}: expected 0 or more")
        require(0 <= rate <= 1, f"ShortTerm.rate is {rate}: expected 0 to 1")
        self.num_slots, self.top_k = num_slots, top_k
        self.temperature, self.novelty, self.rate = temperature, novelty, rate

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"M": self.top_k}

    def initial(self, batch: int) -> dict[str, Tensor]:
        features = prod(self.inputs["state"].shape(self.dims))
        return {
            "keys": torch.zeros(batch, self.num_slots, features),
            "energies": torch.zeros(batch, self.num_slots),
            "times": torch.zeros(batch, self.num_slots, dtype=torch.int64),  # the tick of the state, possibly in the future
            "imagined": torch.zeros(batch, self.num_slots, dtype=torch.bool),
            "written": torch.full((batch, self.num_slots), -1, dtype=torch.int64),  # the tick, -1 for an empty slot
            "tick": torch.zeros(batch, dtype=torch.int64),
        }

    def step(self, state: Tensor, energy: Tensor, surprise: Tensor | None = None,
             imagined: Tensor | None = None, goal: Tensor | None = None) -> dict[str, Tensor]:
        query = state.flatten(1)
        near, slots = self._nearest(query, self.top_k)
        rows = torch.arange(len(query), device=query.device)[:, None]
        share = torch.softmax(near / -self.temperature, -1)  # (B, k)
        found = self.carry["keys"][rows, slots]  # (B, k, F)
        outputs = {
            "recall": (share[:, None] @ found)[:, 0].view_as(state),
            "score": torch.exp(near[:, 0] / -self.temperature),
            "energy": (share * self.carry["energies"][rows, slots]).sum(-1),
            "imagined": (share * self.carry["imagined"][rows, slots]).sum(-1),
        }
        if "nearest" in self.outputs:
            found = torch.where((near < FAR)[..., None], found, query[:, None])
            outputs["nearest"] = found.unflatten(-1, state.shape[1:])
        tick = self.carry["tick"]
        if imagined is not None:
            self._write_imagined(imagined, goal, tick)
        self._write(query, energy, tick, is_imagined=False)
        self.carry["tick"] = tick + 1
        return outputs

    def _write_imagined(self, imagined: Tensor, goal: Tensor | None, tick: Tensor) -> None:
        """Write states (B, H, *S) that the planner imagined one tick ago for this tick and the following ones."""
        if goal is None or "cost" not in self.calls:
            raise SettingError("ShortTerm receives imagined states without their intrinsic energy. Fix: "
                               "graph.memory.goal=goal.goal and graph.memory.calls.cost=cost, or ~graph.memory.imagined")
        begun = tick > 0  # no states were imagined before an episode's first tick
        for h, states in enumerate(imagined.unbind(1)):
            self._write(states.flatten(1), self.calls.cost.intrinsic_energy(states, goal), tick + h, is_imagined=True,
                        allowed=begun)

    def _nearest(self, query: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return d² (B, count) to the nearest slots, and their indices."""
        distance = (self.carry["keys"] - query[:, None]).square_().mean(-1).masked_fill_(self.carry["written"] < 0, FAR)
        near, slots = distance.topk(count, largest=False)
        return near, slots

    def _write(self, query: Tensor, energy: Tensor, time: Tensor, *, is_imagined: bool,
               allowed: Tensor | None = None) -> None:
        """Write one state per allowed row; the carry belongs to this module, so it is written in place."""
        keys, energies, times, imagined, written = (
            self.carry[name] for name in ("keys", "energies", "times", "imagined", "written"))
        near, slots = (found[:, 0] for found in self._nearest(query, 1))
        rows = torch.arange(len(query), device=query.device)
        new = near > self.novelty**2
        # empty slots first, then imagined states, then perceived ones, the oldest first
        order = torch.where(written < 0, -1, torch.where(imagined, written, written + torch.iinfo(torch.int32).max))
        at = torch.where(new, order.argmin(-1), slots)
        whole = new | (imagined[rows, at] & (not is_imagined))
        writes = torch.ones_like(new) if allowed is None else allowed
        if is_imagined:
            writes = writes & (new | imagined[rows, at])
        rows, at, whole, query, energy, time = (value[writes] for value in (rows, at, whole, query, energy, time))
        share = torch.where(whole, 1.0, self.rate)
        keys[rows, at] = torch.lerp(keys[rows, at], query, share[:, None])
        energies[rows, at] = torch.lerp(energies[rows, at], energy, share)
        times[rows, at] = time
        imagined[rows, at] = is_imagined
        written[rows, at] = self.carry["tick"][rows]
