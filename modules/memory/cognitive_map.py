"""Cognitive map: remembered states, found by their context, with links between those that followed each other.

Shapes: B parallel worlds, N slots, k best matches, L links per slot, C the size of a context, S the size of a state, a
vector.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.errors import require
from ami.module import Call
from ami.ports import Port, Size, shape_of
from modules.memory._map_memory import FAR, MapMemory

NONE = -1


class CognitiveMap(MapMemory):
    """Keeps states far enough apart, and answers where something was seen (cognitive map: O'Keefe and Nadel, 1978).

    The key of a slot is the context of its state, its value the state (paper, section 4.9: key and value differ). A tick
    writes the previous state, which has delay 1, and then reads by the present percept, so that the answer can correct the
    present state: read, observe, write without a cycle.

    * write: a new slot if the state is farther than `spacing` from every slot of its context; a full memory overwrites the
      slot that was visited least recently. Successive slots are linked. `relief` of a slot is the largest drop of energy
      felt there, in 1 - exp(-energy): near a barrier an energy falls without bound.
    * read: d² is the mean squared difference of contexts. The answer is Σ cⱼ (percept, as a goal, rebased to stateⱼ), with
      c = softmax(-d² / temperature) over the k best; its score is exp(-d² / same) of the best. `recall` answers for the
      percept, `wanted` for the goal.

    Args:
        num_slots: N.
        num_links: L; the oldest link of a slot is replaced.
        top_k: k.
        temperature: of the softmax, in units of d².
        same: d² below which two contexts are one.
        spacing: distance, of the world model, between two slots of one context.

    Raises:
        SettingError: a setting is out of its range.
    """

    inputs = {
        **MapMemory.inputs,
        "percept": Port("percept", ("*P",)),
        "goal": Port("goal", ("*Q",)),
    }
    requires = {"world_model": Call(("context", "goal_of", "rebase_goal", "distance"), {"S": "S", "P": "P", "Q": "Q"})}
    equal_dims = {"Q": "S"}
    ignores = ("surprise",)

    def __init__(self, num_slots: int = 256, num_links: int = 8, top_k: int = 16, temperature: float = 0.01,
                 same: float = 0.1, spacing: float = 1.0) -> None:
        super().__init__()
        require(num_slots >= 1, f"CognitiveMap.num_slots is {num_slots}: expected 1 or more")
        require(num_links >= 1, f"CognitiveMap.num_links is {num_links}: expected 1 or more")
        require(1 <= top_k <= num_slots, f"CognitiveMap.top_k is {top_k}: expected 1 to num_slots, {num_slots}")
        for name, value in (("temperature", temperature), ("same", same)):
            require(value > 0, f"CognitiveMap.{name} is {value}: expected more than 0")
        require(spacing >= 0, f"CognitiveMap.spacing is {spacing}: expected 0 or more")
        self.num_slots, self.num_links, self.top_k = num_slots, num_links, top_k
        self.temperature, self.same, self.spacing = temperature, same, spacing

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"N": self.num_slots, "L": self.num_links}

    def initial(self, batch: int) -> dict[str, Tensor]:
        slots = (batch, self.num_slots)
        return {
            "states": torch.zeros(*slots, *shape_of(self.dims, "S")),
            "links": torch.full((*slots, self.num_links), NONE, dtype=torch.int64),
            "linked": torch.zeros(*slots, dtype=torch.int64),  # the number of links ever made
            "visited": torch.full(slots, NONE, dtype=torch.int64),  # the tick, -1 for an empty slot
            "relief": torch.zeros(*slots),
            "energy": torch.zeros(batch),  # the one before
            "here": torch.full((batch,), NONE, dtype=torch.int64),  # the slot of the previous state
            "tick": torch.zeros(batch, dtype=torch.int64),
        }

    def step(self, state: Tensor, energy: Tensor, percept: Tensor, goal: Tensor,
             surprise: Tensor | None = None) -> dict[str, Tensor]:
        self._write(state, energy)
        model = self.calls.world_model
        contexts = model.context(self.carry["states"])  # (B, N, C)
        recall, score = self._read(model.goal_of(percept), contexts)
        outputs = {"recall": recall, "score": score}
        if self._sends("wanted", "wanted_score"):
            outputs["wanted"], outputs["wanted_score"] = self._read(goal, contexts)
        if self._sends("relief", "relief_score"):
            outputs["relief"], outputs["relief_score"] = self._relieving(contexts)
        if "places" in self.outputs:
            outputs["places"] = self.carry["states"].clone()
        if "kept" in self.outputs:
            outputs["kept"] = self.carry["visited"] >= 0
        if "links" in self.outputs:
            outputs["links"] = self.carry["links"].clone()
        return {name: outputs[name] for name in self.outputs}

    def _read(self, query: Tensor, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the query (B, *S) rebased to the places where its context was seen, and the score (B,)."""
        near, slots = self._apart(query, contexts).topk(self.top_k, largest=False)
        rows = torch.arange(len(query), device=query.device)[:, None]
        there = self.calls.world_model.rebase_goal(query[:, None], self.carry["states"][rows, slots])
        share = torch.softmax(near / -self.temperature, -1)
        return (share[..., None] * there).sum(1), torch.exp(near[:, 0] / -self.same)

    def _relieving(self, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state (B, *S) where relief was felt: the mean over slots of the context with the largest, weighted by
        their reliefs, since it may be felt all around a place; and whether there is one, 0 or 1."""
        relief, states = self.carry["relief"], self.carry["states"]
        largest, slot = relief.max(1)
        best = states[torch.arange(len(slot), device=slot.device), slot]
        share = relief.masked_fill(self._apart(best, contexts) > self.same, 0.0)
        share = share / share.sum(1, keepdim=True).clamp(min=1e-9)
        return (share[:, None] @ states)[:, 0], (largest > 0).to(states)

    def _apart(self, query: Tensor, contexts: Tensor) -> Tensor:
        """Return d² (B, N) of a query's context to those of all slots."""
        wanted = self.calls.world_model.context(query)[:, None]
        apart = (contexts - wanted).square().mean(-1) if contexts.shape[-1] else contexts.new_zeros(contexts.shape[:2])
        return apart.masked_fill_(self.carry["visited"] < 0, FAR)

    def _write(self, state: Tensor, energy: Tensor) -> None:
        """Write one state per row, except before an episode's first; the carry belongs to this module."""
        states, links, linked, visited, relief, here, tick = (
            self.carry[name] for name in ("states", "links", "linked", "visited", "relief", "here", "tick"))
        model, rows = self.calls.world_model, torch.arange(len(state), device=state.device)
        apart = self._apart(state, model.context(states))
        distance = model.distance(states, state[:, None]).masked_fill_(apart > self.same, FAR)
        near, slot = distance.min(1)
        new = near > self.spacing
        slot = torch.where(new, visited.argmin(1), slot)
        felt = (torch.exp(-energy) - torch.exp(-self.carry["energy"])).clamp(min=0)
        begun = tick > 0
        for row in (new & begun).nonzero()[:, 0].tolist():
            taken = int(slot[row])
            if visited[row, taken] >= 0:  # no way leads to a slot that is overwritten
                links[row][links[row] == taken] = NONE
            states[row, taken], links[row, taken], linked[row, taken], relief[row, taken] = state[row], NONE, 0, 0.0
        written = rows[begun]
        at = slot[written]
        visited[written, at] = tick[written]
        relief[written, at] = torch.maximum(relief[written, at], torch.where(tick[written] > 1, felt[written], 0.0))
        moved = begun & (here >= 0) & (here != slot)
        for row in moved.nonzero()[:, 0].tolist():
            self._link(row, int(here[row]), int(slot[row]))
            self._link(row, int(slot[row]), int(here[row]))
        self.carry["here"] = torch.where(begun, slot, here)
        self.carry["energy"], self.carry["tick"] = energy.clone(), tick + 1

    def _link(self, row: int, one: int, other: int) -> None:
        """Link a slot to another one, unless it is linked already."""
        links, linked = self.carry["links"], self.carry["linked"]
        if not bool((links[row, one] == other).any()):
            links[row, one, int(linked[row, one]) % self.num_links] = other
            linked[row, one] += 1
