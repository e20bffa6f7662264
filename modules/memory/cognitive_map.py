"""Cognitive map: remembered states, found by their context, with links between those that followed each other.

Shapes: B parallel worlds, N slots, k best matches, L links per slot, C the size of a context, S the size of a state, a
vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ami.errors import require
from ami.module import Call, Episode
from ami.ports import Port, Size, shape_of
from modules.memory import _renewal
from modules.memory._links import NONE, cut, link, unlinked
from modules.memory._map_memory import FAR, MapMemory
from modules.memory._smallest import smallest
from modules.memory._surroundings import surroundings_of

KEPT = ("states", "keys", "lengths", "links", "linked", "visited", "relief", "tick")
"""What the carry keeps of a house from one episode to the next, see `keep_if`."""
MARGIN = 4
"""The number of slots at the border of the k best whose order rounding may change."""


class _Read(NamedTuple):
    """What one query per row (R,) found."""

    found: Tensor  # the query rebased to the places where its context was seen, (R, *S)
    score: Tensor  # (R,)
    context: Tensor  # of the query, (R, C)
    apart: Tensor  # its d² to all slots, up to rounding, (R, N)
    slots: Tensor  # the k best, (R, k)
    reach: Tensor  # d² of the k-th best, (R,)


class CognitiveMap(MapMemory):
    """Keeps states far enough apart, and answers where something was seen (cognitive map: O'Keefe and Nadel, 1978).

    The key of a slot is the context of its state, its value the state (paper, section 4.9: key and value differ). A tick
    writes the previous state, which has delay 1, and then reads by the present percept, so that the answer can correct the
    present state: read, observe, write without a cycle.

    * write: a new slot if the state is farther than `spacing` from every slot of its context; a full memory overwrites the
      slot that was visited least recently. Successive slots are linked. `relief` of a slot is the largest drop of energy
      felt there, in 1 - exp(-energy): near a barrier an energy falls without bound.
    * renewal: an unknown context, similar to a known one and met where that one puts the agent, is the known one, changed.
      All slots of the known context get the new one.
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
        changed: d² below which an unknown context may be a known one that changed; 0 for never.
        drift: greatest distance between where that one puts the agent and where it is believed to be.
        keep_if: names of options of an episode. A row's slots are kept if its new episode has the same values of all of them
            as its last one; empty: every episode begins without a slot. States of both episodes must be comparable: a
            world model whose place starts at 0 fits if both episodes start at the same place.

    Raises:
        SettingError: a setting is out of its range, or an episode with options lacks one that `keep_if` names.
    """

    inputs = {
        **MapMemory.inputs,
        "percept": Port("percept", ("*P",)),
        "goal": Port("goal", ("*Q",)),
    }
    requires = {"world_model": Call(("context", "goal_of", "rebase_goal", "distance", "renew"),
                                    {"S": "S", "P": "P", "Q": "Q"})}
    equal_dims = {"Q": "S"}
    ignores = ("surprise",)

    def __init__(self, num_slots: int = 256, num_links: int = 8, top_k: int = 16, temperature: float = 0.01,
                 same: float = 0.1, spacing: float = 1.0, changed: float = 1.0, drift: float = 2.0,
                 keep_if: Sequence[str] = ()) -> None:
        super().__init__()
        require(num_slots >= 1, f"CognitiveMap.num_slots is {num_slots}: expected 1 or more")
        require(num_links >= 1, f"CognitiveMap.num_links is {num_links}: expected 1 or more")
        require(1 <= top_k <= num_slots, f"CognitiveMap.top_k is {top_k}: expected 1 to num_slots, {num_slots}")
        for name, value in (("temperature", temperature), ("same", same)):
            require(value > 0, f"CognitiveMap.{name} is {value}: expected more than 0")
        for name, value in (("spacing", spacing), ("changed", changed), ("drift", drift)):
            require(value >= 0, f"CognitiveMap.{name} is {value}: expected 0 or more")
        self.num_slots, self.num_links, self.top_k = num_slots, num_links, top_k
        self.temperature, self.same, self.spacing, self.keep_if = temperature, same, spacing, tuple(keep_if)
        self.changed, self.drift = changed, drift

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"N": self.num_slots, "L": self.num_links}

    def initial(self, batch: int) -> dict[str, Tensor]:
        slots, size = (batch, self.num_slots), shape_of(self.dims, "S")
        context: Tensor = self.calls.world_model.context(torch.zeros(1, *size, device=self.device))
        return {
            "states": torch.zeros(*slots, *size),
            "keys": torch.zeros(batch, context.shape[-1], self.num_slots),  # the states' contexts
            "lengths": torch.full(slots, FAR),  # mean squares of the keys; FAR for an empty slot
            "links": torch.full((*slots, self.num_links), NONE, dtype=torch.int64),
            "linked": torch.zeros(*slots, dtype=torch.int64),  # the number of links ever made
            "visited": torch.full(slots, NONE, dtype=torch.int64),  # the tick, -1 for an empty slot
            "relief": torch.zeros(*slots),
            "tick": torch.zeros(batch, dtype=torch.int64),  # since the first slot
            "surroundings": torch.full((batch,), NONE, dtype=torch.int64),  # a hash of the options in `keep_if`
            "energy": torch.zeros(batch),  # the one before
            "here": torch.full((batch,), NONE, dtype=torch.int64),  # the slot of the previous state
            "age": torch.zeros(batch, dtype=torch.int64),  # ticks of the episode
            "seen": torch.zeros(batch, context.shape[-1]),  # the context of the last percept, and its d² to all slots
            "apart": torch.full(slots, FAR),
            "goal": torch.zeros(batch, *size),  # the last goal, its answer and score, and whether they still hold
            "wanted": torch.zeros(batch, *size),
            "wanted_score": torch.zeros(batch),
            "holds": torch.zeros(batch, dtype=torch.bool),
            "wanted_slots": torch.full((batch, self.top_k), NONE, dtype=torch.int64),  # the k best of the answer
            "wanted_reach": torch.full((batch,), FAR),  # d² of the k-th best
        }

    def begin(self, mask: Tensor, episodes: Sequence[Episode]) -> None:
        before = self.carry
        super().begin(mask, episodes)
        if not self.keep_if:
            return
        found = torch.tensor([surroundings_of(episode, self.keep_if) if new else NONE
                              for episode, new in zip(episodes, mask.tolist(), strict=True)], device=self.device)
        mask = mask.to(self.device)
        if before and len(before["tick"]) == len(mask):
            kept = mask & (found != NONE) & (found == before["surroundings"])
            for name in KEPT:
                where = kept.view(-1, *[1] * (before[name].ndim - 1))
                self.carry[name] = torch.where(where, before[name], self.carry[name])
        self.carry["surroundings"] = torch.where(mask, found, self.carry["surroundings"])

    def weights_changed(self) -> None:
        if self.carry:
            contexts = self.calls.world_model.context(self.carry["states"])
            self.carry["keys"] = contexts.transpose(1, 2).contiguous()
            self.carry["lengths"] = _mean_square(contexts).masked_fill_(self.carry["visited"] < 0, FAR)
            self.carry["apart"] = self._apart(self.carry["seen"])
            self.carry["holds"] = torch.zeros_like(self.carry["holds"])

    def step(self, state: Tensor, energy: Tensor, percept: Tensor, goal: Tensor,
             surprise: Tensor | None = None) -> dict[str, Tensor]:
        self._write(state, energy)
        seen, carry = self._read(self.calls.world_model.goal_of(percept)), self.carry
        outputs = {"recall": seen.found, "score": seen.score}
        if self._sends("wanted", "wanted_score"):
            self._search(goal)
            outputs["wanted"], outputs["wanted_score"] = carry["wanted"].clone(), carry["wanted_score"].clone()
        carry["seen"], carry["apart"] = seen.context, seen.apart
        if self._sends("relief", "relief_score"):
            outputs["relief"], outputs["relief_score"] = self._relieving()
        if self._sends("kept"):
            outputs["kept"] = carry["visited"] >= 0
        # sent without a copy: `_write` copies them before it changes them
        outputs |= {"places": carry["states"], "links": carry["links"]}
        return {name: outputs[name] for name in self.outputs}

    def _search(self, goal: Tensor) -> None:
        """Search for goals (B, *S) in the rows where the last answer no longer holds."""
        carry = self.carry
        holds = carry["holds"] & (goal == carry["goal"]).flatten(1).all(1)
        rows = (~holds).nonzero()[:, 0]
        if len(rows):
            read = self._read(goal[rows], rows)
            carry["goal"][rows], carry["wanted"][rows], carry["wanted_score"][rows] = goal[rows], read.found, read.score
            carry["wanted_slots"][rows], carry["wanted_reach"][rows] = read.slots, read.reach
            carry["holds"] = torch.ones_like(carry["holds"])

    def _read(self, query: Tensor, rows: Tensor | None = None) -> _Read:
        """Read by one query (R, *S) in each of these rows (R,), by default all."""
        model, carry = self.calls.world_model, self.carry
        context, every = model.context(query), torch.arange(len(query), device=query.device)
        apart = self._apart(context, rows)
        # `_apart` rounds: the best of a few more candidates, whose d² is then exact
        near, slots = smallest(apart, min(self.top_k + MARGIN, self.num_slots))
        kept = _chosen(carry["states"], every if rows is None else rows, slots)  # (R, k + MARGIN, *S)
        near = torch.where(near < FAR / 2, _mean_square(model.context(kept) - context[:, None]), FAR)
        near, order = near.topk(self.top_k, largest=False)
        share = torch.softmax(near / -self.temperature, -1)
        there = model.rebase_goal(query[:, None], _chosen(kept, every, order))
        return _Read((share[..., None] * there).sum(1), torch.exp(near[:, 0] / -self.same), context, apart,
                     slots.gather(1, order), near[:, -1])

    def _relieving(self) -> tuple[Tensor, Tensor]:
        """Return the state (B, *S) where relief was felt: the mean over slots of the context with the largest, weighted by
        their reliefs, since it may be felt all around a place; and whether there is one, 0 or 1."""
        relief, states, context = self.carry["relief"], self.carry["states"], self.calls.world_model.context
        largest, best = relief.max(1)
        there = context(states[torch.arange(len(best), device=best.device), best])
        # `_apart` rounds: far fewer candidates, whose d² is then exact
        row, slot = ((relief > 0) & (self._apart(there) <= 2 * self.same)).nonzero(as_tuple=True)
        felt = states.flatten(0, 1).index_select(0, row * self.num_slots + slot)
        apart = _mean_square(context(felt) - there[row])
        share = relief[row, slot].masked_fill_(apart > self.same, 0.0)
        total = torch.zeros_like(largest).index_add_(0, row, share).clamp_(min=1e-9)
        mean = torch.zeros_like(states[:, 0]).index_add_(0, row, share[:, None] * felt) / total[:, None]
        return mean, (largest > 0).to(states)

    def _apart(self, context: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return d² (R, N) of contexts (R, C) to those of these rows' slots, up to rounding; FAR for an empty one.

        |c - q|² as |c|² - 2 c·q + |q|² reads the keys once.
        """
        keys, lengths = self.carry["keys"], self.carry["lengths"]
        if rows is not None:
            keys, lengths = keys[rows], lengths[rows]
        products = torch.bmm(context[:, None], keys)[:, 0].mul_(-2 / max(context.shape[-1], 1))
        return products.add_(lengths).add_(_mean_square(context)[:, None])

    def _write(self, state: Tensor, energy: Tensor) -> None:
        """Write one state per row, except before an episode's first; the carry belongs to this module."""
        visited, relief, here, tick, age = (
            self.carry[name] for name in ("visited", "relief", "here", "tick", "age"))
        begun = age > 0
        rows = begun.nonzero()[:, 0]
        if len(rows):
            slot, is_new = self._slot_of(state, begun)
            self._open((is_new & begun).nonzero()[:, 0], slot, state)
            at = slot[rows]
            felt = (torch.exp(-energy) - torch.exp(-self.carry["energy"])).clamp(min=0)
            visited[rows, at] = tick[rows]
            relief[rows, at] = torch.maximum(relief[rows, at], torch.where(age[rows] > 1, felt[rows], 0.0))
            moved = (begun & (here >= 0) & (here != slot)).nonzero()[:, 0]
            one, other = here[moved], slot[moved]
            self._link(moved.repeat(2), torch.cat([one, other]), torch.cat([other, one]))  # both ways
            self.carry["here"] = torch.where(begun, slot, here)
        self.carry["energy"], self.carry["tick"], self.carry["age"] = energy.clone(), tick + 1, age + 1

    def _slot_of(self, state: Tensor, begun: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slot (B,) that a state belongs to, and whether it has to be opened for it; renew changed slots."""
        model, carry = self.calls.world_model, self.carry
        context = model.context(state)
        # most states have the context of the percept that was read last
        apart = carry["apart"] if torch.equal(context, carry["seen"]) else self._apart(context)
        row, slot = _renewal.changed(model, carry["states"], apart, state, begun, self.same, self.changed, self.drift)
        if len(row):
            self._copy_before_change("places", "states")
            _renewal.renew(carry, model, row, slot, state)
            apart = self._apart(context)
        alike = (apart <= self.same).flatten().nonzero()[:, 0]
        distance = torch.full_like(carry["lengths"], FAR)
        distance.view(-1)[alike] = model.distance(carry["states"].flatten(0, 1).index_select(0, alike),
                                                  state.index_select(0, alike // self.num_slots))
        near, nearest = distance.min(1)
        is_new = near > self.spacing
        rows = is_new.nonzero()[:, 0]
        nearest[rows] = carry["visited"][rows].argmin(1)
        return nearest, is_new

    def _open(self, rows: Tensor, slot: Tensor, state: Tensor) -> None:
        """Put states (B, *S) of these rows (R,) into slots (B,), empty or not."""
        if not len(rows):
            return
        self._copy_before_change("places", "states")
        self._copy_before_change("links", "links")
        carry, at, model = self.carry, slot[rows], self.calls.world_model
        context = model.context(state[rows])
        taken = carry["visited"][rows, at] >= 0
        cut(carry["links"], carry["linked"], rows[taken], at[taken])
        carry["states"][rows, at], carry["links"][rows, at], carry["linked"][rows, at] = state[rows], NONE, 0
        carry["keys"][rows, :, at], carry["lengths"][rows, at] = context, _mean_square(context)
        carry["relief"][rows, at] = 0.0
        # an answer holds unless the slot was, or now is, among its best
        near = _mean_square(context - model.context(carry["goal"][rows]))
        changes = (near <= carry["wanted_reach"][rows]) | (carry["wanted_slots"][rows] == at[:, None]).any(1)
        carry["holds"][rows[changes]] = False

    def _link(self, rows: Tensor, one: Tensor, other: Tensor) -> None:
        """Link slots (R,) to other ones, unless they are linked already."""
        is_new = unlinked(self.carry["links"], rows, one, other)
        if len(is_new):
            self._copy_before_change("links", "links")
            link(self.carry["links"], self.carry["linked"], rows[is_new], one[is_new], other[is_new])

    def _copy_before_change(self, output: str, name: str) -> None:
        """Copy a part of the carry that was sent as an output: a message never changes."""
        if output in self.outputs:
            self.carry[name] = self.carry[name].clone()


def _mean_square(values: Tensor) -> Tensor:
    """Return the mean of the squares over the last dimension, 0 if it is empty."""
    return values.square().sum(-1) / max(values.shape[-1], 1)


def _chosen(values: Tensor, rows: Tensor, slots: Tensor) -> Tensor:
    """Return the values (R, k, …) in slots (R, k) of rows (R,), of values (B, N, …)."""
    flat = slots + rows[:, None] * values.shape[1]  # `values[rows[:, None], slots]` takes three times as long on a CPU
    return values.flatten(0, 1).index_select(0, flat.flatten()).view(*slots.shape, *values.shape[2:])
