"""Figures of a wave for the viewer: start and duration of every invocation, hashes, scalars and statistics.

A wave has T ticks × B worlds. Its figures cover all worlds; an episode is one row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from torch import Tensor

from ami.rollout import OVER
from ami.trace.reader import Trace, texts_of
from ami.trace.roles import Roles
from ami.views.played import EPISODE, played
from ami.views.viewer_packing import Plain, base64_of, packed

STATISTICS = ("mean", "std", "min", "max")
KEPT = (*OVER, "success", "reward", EPISODE)


class RowEpisode(NamedTuple):
    """One episode of a wave: ticks `first` to before `end` of a row. `number` is that of its pair; None if unknown."""

    row: int
    first: int
    end: int
    number: int | None


@dataclass
class Wave:
    """One wave: T ticks of B worlds.

    Attributes:
        number, ticks, batch: the wave's number, T and B.
        agent: the folder it was recorded in.
        first: index of its first world among the run's sealed pairs; None if the header has no batch size.
        figures: by node, as the page holds them.
        flags: the world's flags, rewards and numbers of episodes, (T, B) each; NaN where it rests.
    """

    number: int
    ticks: int
    batch: int
    agent: str
    first: int | None
    figures: Plain
    flags: dict[str, np.ndarray] = field(default_factory=dict)
    _notes: dict[str, dict[int, dict[str, Tensor]]] = field(default_factory=dict)

    def noted(self, trace: Trace, node: str) -> dict[int, dict[str, Tensor]]:
        """Return a node's notes in this wave, by tick; read once for all episodes."""
        if node not in self._notes:
            self._notes[node] = trace.notes(node, self.number)
        return self._notes[node]

    def episodes(self) -> Iterator[RowEpisode]:
        """Yield the episodes by row; a row without any, as in a fork after its end, counts as one."""
        tick, row = (each.ravel() for each in np.indices((self.ticks, self.batch)))
        sent = self.flags.get(EPISODE)
        found = played(np.zeros_like(tick), tick, row, None if sent is None else sent.ravel(),
                       [self.flags[flag].ravel() for flag in OVER if flag in self.flags])
        for one in range(self.batch):
            own = found.live & (row == one)
            for first in np.unique(found.began[own]).tolist() or [0]:
                ticks = tick[own & (found.began == first)]
                end = int(ticks.max()) + 1 if len(ticks) else self.ticks
                number = int(found.number[(end - 1) * self.batch + one])
                if number < 0 and first == 0 and self.first is not None:  # an older trace, or over before a fork
                    number = self.first + one
                yield RowEpisode(one, first, end, number if number >= 0 else None)

    def outcome(self, episode: RowEpisode) -> Plain:
        """Return an episode's extent and outcome."""
        ticks = np.s_[episode.first:episode.end, episode.row]
        reward, success = self.flags.get("reward"), self.flags.get("success")
        return {"row": episode.row, "first": episode.first, "ticks": episode.end,
                "over": any(bool((self.flags[flag][ticks] > 0).any()) for flag in OVER if flag in self.flags),
                "success": bool(success is not None and (success[ticks] > 0).any()),
                "return": 0.0 if reward is None else float(np.nansum(reward[ticks]))}


def wave_figures(trace: Trace, number: int) -> Wave:
    """Return the figures of one wave of a trace."""
    ticks, batch, agent = trace.waves[number], 0, ""
    world, nodes = Roles(trace.header).world, dict[str, Plain]()
    flags: dict[str, np.ndarray] = {}
    chosen = {node: table.take(pa.array(np.flatnonzero(table["wave"].to_numpy() == number)))
              for node, table in trace.tables.items()}
    began = _began(chosen, ticks)
    for node, table in chosen.items():
        if not len(table):
            continue
        at = table["tick"].to_numpy()
        batch = max(batch, int(table["batch"].to_numpy().max()))
        agent = str(table["agent"][0].as_py())
        start, end = table["start"].to_numpy(), table["end"].to_numpy()
        ports: dict[str, Plain] = {}
        for port in trace.ports[node]:
            ports[port] = _figures(table, port) | (_texts(table, port) if f"{node}.{port}" in trace.texts else {})
            if node == world and port in KEPT and f"{port}.rows" in table.column_names:
                dense = np.full((ticks, int(table["batch"][0].as_py())), np.nan, np.float32)
                dense[at] = np.asarray(table[f"{port}.rows"].to_pylist(), np.float32)
                flags[port] = dense
        nodes[node] = {"ticks": None if len(at) == ticks else at.tolist(), "ports": ports,
                       "at": packed((start - began[at]) / 1000), "us": packed((end - start) / 1000)}
    size = ((trace.header.get("config") or {}).get("evaluation") or {}).get("batch")
    return Wave(number, ticks, batch, agent, number * int(size) if size else None, {"nodes": nodes}, flags)


def _began(tables: Mapping[str, pa.Table], ticks: int) -> np.ndarray:
    """Return the start of each tick, (T,) nanoseconds: the start of its first invocation."""
    began = np.full(ticks, np.iinfo(np.int64).max)
    for table in tables.values():
        np.minimum.at(began, table["tick"].to_numpy(), table["start"].to_numpy())
    return began


def _figures(table: pa.Table, port: str) -> Plain:
    """Return a port's hashes, and its values per world or its statistics."""
    found: Plain = {"hash": base64_of(b"".join(table[f"{port}.hash"].to_pylist()))}
    if f"{port}.rows" in table.column_names:
        found["rows"] = packed(table[f"{port}.rows"].combine_chunks().flatten().to_numpy(zero_copy_only=False))
    for name in STATISTICS:
        if f"{port}.{name}" in table.column_names:
            found[name] = packed(table[f"{port}.{name}"].to_numpy())
    return found


def _texts(table: pa.Table, port: str) -> Plain:
    """Return the different texts of a port, and the index of each world's in each message; empty if not recorded."""
    if f"{port}.data" not in table.column_names:
        return {}
    index: dict[str, int] = {"": 0}  # of messages that were not recorded, too
    of = [index.setdefault(text, len(index)) for data, batch in
          zip(table[f"{port}.data"].to_pylist(), table["batch"].to_pylist(), strict=True)
          for text in ([""] * batch if data is None else texts_of(data, batch))]
    return {"texts": list(index), "text": packed(np.array(of, np.float32))}
