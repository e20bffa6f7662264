"""Slots of states: what the memories share whose key and value are the state itself.

Shapes: B parallel worlds, N slots, k best matches, S the size of a state, F = S flattened.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from ami.errors import require
from ami.ports import Port, Size
from modules.memory._map_memory import FAR, MapMemory


class StateSlots(MapMemory):
    """States with their energies, read by exact soft matching; a subclass writes. d² is a mean square over the features.

    The answers of a map: `wanted` is the recall of the goal, with score 0 if none is wired; `relief` is the slot of the
    least energy, its score 1 if there is one; no slots are linked. `nearest` holds the k best matches of the state, with the
    state in place of an empty slot.

    Args:
        num_slots: N, number of states kept per world.
        top_k: number of slots mixed in a read.
        temperature: of the softmax, in units of d².
        novelty: the distance d beyond which a state is new.
        rate: weight of the new state in an interpolation, 0 to 1.

    Raises:
        SettingError: a setting is out of its range.
    """

    inputs = {**MapMemory.inputs, "goal": Port("goal", ("*S",), optional=True)}
    outputs = {**MapMemory.outputs, "nearest": Port("remembered", ("M", "*S"))}
    on_demand = (*MapMemory.on_demand, "nearest")

    def __init__(self, num_slots: int = 64, top_k: int = 4, temperature: float = 0.05, novelty: float = 0.1,
                 rate: float = 0.5) -> None:
        super().__init__()
        name = type(self).__name__
        require(num_slots >= 1, f"{name}.num_slots is {num_slots}: expected 1 or more")
        require(1 <= top_k <= num_slots, f"{name}.top_k is {top_k}: expected 1 to num_slots, {num_slots}")
        require(temperature > 0, f"{name}.temperature is {temperature}: expected more than 0")
        require(novelty >= 0, f"{name}.novelty is {novelty}: expected 0 or more")
        require(0 <= rate <= 1, f"{name}.rate is {rate}: expected 0 to 1")
        self.num_slots, self.top_k = num_slots, top_k
        self.temperature, self.novelty, self.rate = temperature, novelty, rate

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"M": self.top_k, "N": self.num_slots, "L": 1}

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {
            "keys": torch.zeros(batch, self.num_slots, prod(self.inputs["state"].shape(self.dims))),
            "energies": torch.zeros(batch, self.num_slots),
            "written": torch.full((batch, self.num_slots), -1, dtype=torch.int64),  # the tick, -1 for an empty slot
            "tick": torch.zeros(batch, dtype=torch.int64),
        }

    def _nearest(self, query: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return d² (B, count) from queries (B, F) to the nearest slots, and their indices."""
        distance = (self.carry["keys"] - query[:, None]).square_().mean(-1).masked_fill_(self.carry["written"] < 0, FAR)
        near, slots = distance.topk(count, largest=False)
        return near, slots

    def _mixed(self, near: Tensor, found: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return each match's share (B, k), their mean state (B, F) and the score (B,): d² (B, k), states (B, k, F)."""
        share = torch.softmax(near / -self.temperature, -1)
        return share, (share[:, None] @ found)[:, 0], torch.exp(near[:, 0] / -self.temperature)

    def _found(self, slots: Tensor) -> Tensor:
        """Return the states (B, k, F) in slots (B, k)."""
        return self.carry["keys"][torch.arange(len(slots), device=slots.device)[:, None], slots]

    def _answers(self, state: Tensor, goal: Tensor | None, near: Tensor, found: Tensor) -> dict[str, Tensor]:
        """Return the outputs on demand, where the best matches of a state are `found`."""
        keys, filled, size = self.carry["keys"], self.carry["written"] >= 0, state.shape[1:]
        answers: dict[str, Tensor] = {}
        if self._sends("nearest"):
            answers["nearest"] = torch.where((near < FAR)[..., None], found, state.flatten(1)[:, None]).unflatten(-1, size)
        if self._sends("wanted", "wanted_score"):
            wanted, score = torch.zeros_like(keys[:, 0]), torch.zeros_like(keys[:, 0, 0])
            if goal is not None:
                near, slots = self._nearest(goal.flatten(1), self.top_k)
                _, wanted, score = self._mixed(near, self._found(slots))
            answers["wanted"], answers["wanted_score"] = wanted.view_as(state), score
        if self._sends("relief", "relief_score"):
            least = self.carry["energies"].masked_fill(~filled, FAR).argmin(-1, keepdim=True)
            answers["relief"] = self._found(least).view_as(state)
            answers["relief_score"] = filled.any(-1).to(keys)
        if self._sends("places"):
            answers["places"] = keys.clone().unflatten(-1, size)
        if self._sends("kept"):
            answers["kept"] = filled
        if self._sends("links"):
            answers["links"] = torch.full((*filled.shape, 1), -1, device=filled.device)
        return {name: value for name, value in answers.items() if name in self.outputs}
