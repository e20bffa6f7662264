"""The map for the viewer: where an agent believes itself, its goals and its remembered states in a plane, beside the truth.

A world model's port names the two entries of a state that are a place in a plane (`ami.ports.Port.plane`). All messages of
states of this model are drawn by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ami.blueprint import Goal, Memory, Planner
from ami.trace.roles import Roles
from ami.views.payloads import IMAGINED, Recorded
from ami.views.viewer_figures import RowEpisode, Wave
from ami.views.viewer_packing import Plain, packed

PLACES, KEPT, LINKS = "places", "kept", "links"
"""Outputs of a memory that sends its slots."""
MARKED = {Goal: ("goal", "subgoal"), Planner: ("goal", "subgoal"), Memory: ("wanted", "relief")}
"""Outputs that are states, by role."""


class Maps:
    """Draws the maps of a trace.

    Args:
        recorded: its payloads.
    """

    def __init__(self, recorded: Recorded) -> None:
        planes: Mapping[str, tuple[int, int]] = recorded.trace.header.get("planes") or {}
        self._recorded = recorded
        self._state = next((port for port in planes if recorded.has(port) and _is_valid(recorded, port, planes[port])), "")
        self._plane = list(planes[self._state]) if self._state else []
        self._wave = -1
        self._read: dict[str, dict[int, np.ndarray]] = {}
        roles = Roles(recorded.trace.header)
        nodes = [node for node in recorded.trace.tables if self._state]
        self._marks = [f"{node}.{name}" for role, names in MARKED.items() for node in roles.nodes_of(role) for name in names
                       if node in nodes and self._is_state(f"{node}.{name}")]
        self._planners = [node for node in roles.planners if node in nodes and self._is_state(f"{node}.{IMAGINED}")]
        self._memory = next((node for node in roles.nodes_of(Memory) if node in nodes
                             and all(recorded.has(f"{node}.{name}") for name in (PLACES, KEPT, LINKS))), "")

    def __call__(self, wave: Wave, one: RowEpisode, end: int) -> Plain:
        """Return the map of an episode before tick `end`: {} without a plane.

        "believed" and each of "marks" are places by tick, (T, 2) numbers, NaN where none was sent; "plans" those that each
        planner imagines, (T, H, 2), with H in "horizons"; "true" is the true place in the same coordinates, by an affine fit
        over the episode; "slots" are changes (tick, slot, x, y), with NaN for a slot that was emptied; "links" are changes
        (tick, slot, slot, 1 or 0).
        """
        if not self._state:
            return {}
        believed = self._path(self._state, wave, one, end)
        marks = {port: self._path(port, wave, one, end) for port in self._marks}
        for places in marks.values():
            places[~places.any(-1)] = np.nan  # no place is known, as of a goal that is only a picture
        found: Plain = {"believed": packed(believed), "marks": {
            port: packed(places) for port, places in marks.items() if np.isfinite(places).any()}}
        plans = {node: self._path(f"{node}.{IMAGINED}", wave, one, end) for node in self._planners}
        found["plans"] = {node: packed(places) for node, places in plans.items()}
        found["horizons"] = {node: places.shape[1] for node, places in plans.items()}
        truth = self._true(believed, wave, one, end)
        if truth is not None:
            found["true"] = packed(truth)
        if self._memory:
            changes = {"slots": self._slots(wave, one, end), "links": self._links(wave, one, end)}
            found |= {name: packed(np.array(list(rows), np.float32)) for name, rows in changes.items()}
        return {"map": found}

    def _is_state(self, port: str) -> bool:
        return self._recorded.has(port) and self._recorded.shape(port)[1][-1:] == self._recorded.shape(self._state)[1]

    def _places(self, port: str, wave: int) -> dict[int, np.ndarray]:
        """Return {tick: places (B, …, 2)} of a wave; only these numbers of the messages stay in memory."""
        if wave != self._wave:
            self._wave, self._read = wave, {}
        if port not in self._read:
            self._read[port] = {tick: value[..., self._plane].copy() for tick, value in self._recorded.read(port, wave)}
        return self._read[port]

    def _path(self, port: str, wave: Wave, one: RowEpisode, end: int) -> np.ndarray:
        """Return the places of a port by tick, (T, …, 2)."""
        path = np.full((end, *self._recorded.shape(port)[1][:-1], 2), np.nan, np.float32)
        for tick, places in self._places(port, wave.number).items():
            if one.first <= tick < end:
                path[tick] = places[one.row]
        return path

    def _true(self, believed: np.ndarray, wave: Wave, one: RowEpisode, end: int) -> np.ndarray | None:
        """Return the true places (T, 2) in the coordinates of the believed ones."""
        held = self._recorded.at(self._recorded.truth, wave.number)
        known = [tick for tick in held if one.first <= tick < end and np.isfinite(believed[tick]).all()]
        if len(known) < 8 or held[known[0]].ndim != 2:
            return None
        truth = np.stack([held[tick][one.row] for tick in known]).astype(float)
        if not np.isfinite(truth).all():
            return None
        inputs = np.concatenate([truth, np.ones((len(truth), 1))], axis=1)
        path = np.full((end, 2), np.nan, np.float32)
        path[known] = inputs @ np.linalg.lstsq(inputs, believed[known].astype(float))[0]
        return path

    def _slots(self, wave: Wave, one: RowEpisode, end: int) -> Iterator[tuple[float, ...]]:
        kept = self._recorded.at(f"{self._memory}.{KEPT}", wave.number)
        places = self._places(f"{self._memory}.{PLACES}", wave.number)
        before: np.ndarray | None = None
        for tick in sorted(tick for tick in places if one.first <= tick < end and tick in kept):
            now = np.where(kept[tick][one.row][:, None], places[tick][one.row], np.nan)
            before = np.full_like(now, np.nan) if before is None else before
            changed = ~((now == before) | (np.isnan(now) & np.isnan(before))).all(1)
            yield from ((tick, int(slot), *now[slot].tolist()) for slot in changed.nonzero()[0])
            before = now

    def _links(self, wave: Wave, one: RowEpisode, end: int) -> Iterator[tuple[float, ...]]:
        before: set[tuple[int, int]] = set()
        held = self._recorded.at(f"{self._memory}.{LINKS}", wave.number)
        for tick in sorted(tick for tick in held if one.first <= tick < end):
            links = held[tick][one.row]
            slot, place = (links >= 0).nonzero()
            now = {(min(pair), max(pair)) for pair in zip(slot.tolist(), links[slot, place].tolist(), strict=True)}
            yield from ((tick, *pair, float(pair in now)) for pair in sorted(now ^ before))
            before = now


def _is_valid(recorded: Recorded, port: str, plane: Iterable[int]) -> bool:
    shape = recorded.shape(port)[1]
    return len(shape) == 1 and all(entry < shape[0] for entry in plane)
