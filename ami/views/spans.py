"""Spans: a trace as trees of timed spans, one tree per tick or per episode, as MLflow's pages and OpenTelemetry show them.

A tick's tree holds one span per module that fired; a delayed wire is a link to the sending span in an earlier tick's tree.
An episode's tree holds one span per tick of its world. Ids are derived from run, wave and tick or row: another process
creates the same tree with the same ids.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ami.blueprint import Cost, WorldModel
from ami.errors import require
from ami.module import Module
from ami.trace.node_file import STATISTICS
from ami.views.query import Condition
from ami.views.tables import Tables

FIGURES: Mapping[str, type[Module]] = {"surprise": WorldModel, "energy": Cost}
"""Outputs to search by, and the role of the nodes that send them."""
DIGITS = 5  # significant digits of a printed number
WHEN = ("agent", "wave", "tick", "row", "episode", "kind", "start", "end", "us", "busy_us", "nodes", "live")


@dataclass(frozen=True)
class Link:
    """A link from a span to an earlier one: ids of its tree and span, and the wire and message between them."""

    tree: str
    span: str
    wire: str
    message: str


@dataclass(frozen=True)
class Span:
    """One span.

    Attributes:
        id: 16 hex digits.
        parent: the id of the enclosing span; None for the root.
        name, kind: kind is the role of a module, TICK or EPISODE.
        start, end: nanoseconds since 1970.
        attributes, inputs, outputs: plain values.
        links: the messages of delayed wires.
        fault: the error in it; empty without one.
    """

    id: str
    parent: str | None
    name: str
    kind: str
    start: int
    end: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Tree:
    """The spans of one tick or one episode, the root first.

    Attributes:
        id: 32 hex digits.
        name: for display.
        kind: "tick" or "episode".
        agent, wave: where it was recorded.
        spans: parents before their children.
        figures: numbers and flags to search by.
    """

    id: str
    name: str
    kind: str
    agent: str
    wave: int
    spans: tuple[Span, ...]
    figures: Mapping[str, float | bool]

    @property
    def root(self) -> Span:
        """The span that holds all others."""
        return self.spans[0]


@dataclass(frozen=True)
class Sample:
    """Selection of ticks and episodes; a tick in which a module did not finish is always selected.

    Args:
        every: every n-th tick of each wave.
        episodes: every n-th episode; 0 selects none.
        surprise: also every tick with a higher surprise in a running episode.
        where: of all these, unfinished ticks included, only ticks in which this holds for a running episode, and only
            episodes with such a tick.
    """

    every: int = 10
    episodes: int = 1
    surprise: float | None = None
    where: Condition | None = None

    def __post_init__(self) -> None:
        require(self.every >= 1, f"--every is {self.every}: expected 1 or more")
        require(self.episodes >= 0, f"--episodes is {self.episodes}: expected 0 or more")
        require(self.surprise is None or not math.isnan(self.surprise), "--surprise is nan: expected a number")


class Forest:
    """All trees of one run, created on request.

    Args:
        tables: the run's tables.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables, self.header = tables, tables.trace.header
        self.run = identity_of(self.header)
        self._ticks = np.unique(_keys(tables.ticks))
        self._parts = dict[str, tuple[np.ndarray, np.ndarray]]()
        self._every = self.header["graph"].get("every", {})
        known = set(tables.ticks.column_names)
        self._figures = {name: [port for node in tables.roles.nodes_of(role) if (port := f"{node}.{name}") in known]
                         for name, role in FIGURES.items()}

    def tick_id(self, wave: int, tick: int) -> str:
        """Return the id of a tick's tree, selected or not."""
        return _hex(32, self.run, "tick", wave, tick)

    def ticks(self, sample: Sample) -> list[tuple[int, int]]:
        """Return the (wave, tick) of a sample, in order.

        Raises:
            UnknownName: its condition names an unknown figure.
            SettingError: its condition names an ambiguous figure.
        """
        wave, tick = self._ticks >> 32, self._ticks & 0xFFFFFFFF
        taken = tick % sample.every == 0
        if sample.surprise is not None:
            taken |= self._surprises > sample.surprise
        taken |= np.array([bool(self._unfinished(place)) for place in range(len(self._ticks))], bool)
        if sample.where is not None:
            held = sample.where.holds(self.tables.ticks) & self.tables.ticks["live"].to_numpy(zero_copy_only=False)
            taken &= np.logical_or.reduceat(held, self._bounds("ticks")[0])
        return list(zip(wave[taken].tolist(), tick[taken].tolist(), strict=True))

    def surprise(self, share: float) -> float | None:
        """Return the surprise that this share of the ticks does not exceed; None if no surprise was recorded."""
        known = self._surprises[np.isfinite(self._surprises)]
        return float(np.quantile(known, share)) if len(known) else None

    def episodes(self, sample: Sample) -> list[tuple[int, int, int]]:
        """Return the (wave, row, first tick) of the episodes of a sample, in order. Raises as `ticks`."""
        if not sample.episodes:
            return []
        found = list(self._ended)
        if sample.where is not None:
            held = sample.where.holds(self.tables.ticks)
            found = [one for one in found if held[self._episode_rows[one]].any()]
        return found[::sample.episodes]

    def trees(self, sample: Sample, known: Mapping[str, int] | None = None) -> Iterator[Tree]:
        """Yield the trees of a sample, ticks first, except those known with the same number of spans."""
        known = known or {}
        for wave, tick in self.ticks(sample):
            one = self.tick_id(wave, tick)
            place = self._place(wave, tick)
            begin, end = (int(side[place]) for side in self._bounds("invocations"))
            if known.get(one) != 1 + end - begin:
                yield self.tick(wave, tick)
        taken = set(self.ticks(sample))
        for wave, row, first in self.episodes(sample):
            tree = self.episode(wave, row, taken, first)
            if known.get(tree.id) != len(tree.spans):
                yield tree

    def tick(self, wave: int, tick: int) -> Tree:
        """Return the tree of one tick: every module's inputs and outputs."""
        id, place = self.tick_id(wave, tick), self._place(wave, tick)
        rows, fired, inputs, messages = (self._rows(name, place) for name in ("ticks", "invocations", "inputs", "messages"))
        live = [row for row in rows if row["live"]] or rows
        scalars = {name: _mean([row[name] for row in live]) for name in rows[0] if name not in WHEN}
        fault = ", ".join(self._unfinished(place))
        root = Span(_hex(16, id), None, f"tick {tick}", "TICK", _ns(min(one["start"] for one in fired)),
                    _ns(max(one["end"] for one in fired)),
                    {"wave": wave, "tick": tick, "agent": rows[0]["agent"], "worlds": len(rows),
                     "live": sum(row["live"] for row in rows), "busy_us": rows[0]["busy_us"], **_json_values(scalars)},
                    _running(live), _by_node(scalars), fault=fault and f"did not finish: {fault}")
        spans = [root]
        for one in fired:
            node = one["node"]
            own = {name: value for name, value in scalars.items() if name.startswith(f"{node}.")}
            arrived = {given["port"]: given for given in inputs if given["node"] == node}
            links = tuple(self._link(wave, given) for given in arrived.values() if given["age"] and self._holds(wave, given))
            spans.append(Span(
                _hex(16, id, node), root.id, node, self.tables.roles.role(node).upper(), _ns(one["start"]), _ns(one["end"]),
                {"module": one["module"], "wave": wave, "tick": tick, "worlds": one["worlds"],
                 **({"every": self._every[node]} if node in self._every else {}), **_json_values(own)},
                {port: given["message"] for port, given in arrived.items()},
                {sent["port"]: _message(sent) for sent in messages if sent["node"] == node}, links))
        figures = {name: max(values) if name == "surprise" else sum(values) / len(values)
                   for name, ports in self._figures.items()
                   if (values := [row[port] for row in live for port in ports
                                  if row[port] is not None and math.isfinite(row[port])])}
        return Tree(id, f"wave {wave}, tick {tick}", "tick", rows[0]["agent"], wave, tuple(spans), figures)

    def episode(self, wave: int, row: int, linked: set[tuple[int, int]] | None = None, first: int = 0) -> Tree:
        """Return the tree of the episode that began in a row at tick `first`; ticks of `linked` link to their own trees."""
        id = _hex(32, self.run, "episode", wave, row, *([first] if first else []))
        whole = self._ended[wave, row, first]
        rows = self.tables.ticks.take(pa.array(self._episode_rows[wave, row, first])).to_pylist()
        name = f"wave {wave}, row {row}" if whole["episode"] is None else f"episode {whole['episode']}"
        outcome = {key: whole[key] for key in ("steps", "over", "success", "return") if whole[key] is not None}
        which = {key: whole[key] for key in ("agent", "wave", "row", "episode", "kind")}
        root = Span(_hex(16, id), None, name, "EPISODE", _ns(whole["start"]), _ns(whole["end"]), which,
                    {"kind": whole["kind"]}, outcome,
                    fault="" if whole["over"] else "the trace ends before the episode")
        spans = [root]
        for one in rows:
            scalars = {key: value for key, value in one.items() if key not in WHEN and value is not None}
            tick = self.tick_id(wave, one["tick"])
            link = (Link(tick, _hex(16, tick), "the same tick, module by module", ""),)
            spans.append(Span(_hex(16, id, one["tick"]), root.id, f"tick {one['tick']}", "TICK", _ns(one["start"]),
                              _ns(one["end"]), {"wave": wave, "row": row, "tick": one["tick"], **_json_values(scalars)},
                              links=link if (wave, one["tick"]) in (linked or ()) else ()))
        surprises = [one[port] for one in rows for port in self._figures["surprise"] if one[port] is not None]
        figures = {key: value for key, value in outcome.items() if key != "over"}
        if surprises and math.isfinite(max(surprises)):
            figures["surprise"] = max(surprises)
        return Tree(id, name if whole["kind"] is None else f"{name} ({whole['kind']})", "episode", whole["agent"], wave,
                    tuple(spans), figures)

    @cached_property
    def _surprises(self) -> np.ndarray:
        """The highest surprise over running episodes, (ticks,); -inf where there is none."""
        surprise = np.full(self.tables.ticks.num_rows, -np.inf)
        for port in self._figures["surprise"]:
            sent = self.tables.ticks[port].to_numpy(zero_copy_only=False).astype(float)
            surprise = np.fmax(surprise, sent)
        live = self.tables.ticks["live"].to_numpy(zero_copy_only=False)
        high: np.ndarray = np.maximum.reduceat(
            np.where(live, surprise, -np.inf), self._bounds("ticks")[0])
        return high

    @cached_property
    def _episode_rows(self) -> Mapping[tuple[int, int, int], np.ndarray]:
        """The rows of `ticks` of each episode, in order."""
        ticks, live = self.tables.ticks, np.flatnonzero(self.tables.played.live)
        key = np.stack([ticks["wave"].to_numpy()[live], ticks["row"].to_numpy()[live], self.tables.played.began[live]])
        order = np.lexsort(key[::-1])  # stable: ticks stay in order
        key = key[:, order]
        begins = np.flatnonzero(np.r_[True, (key[:, 1:] != key[:, :-1]).any(0)]) if len(order) else order
        parts: Sequence[np.ndarray] = np.split(live[order], begins[1:])
        return {(wave, row, first): part for (wave, row, first), part in zip(key[:, begins].T.tolist(), parts, strict=False)}

    @cached_property
    def _ended(self) -> Mapping[tuple[int, int, int], dict[str, Any]]:
        """The row of `episodes` of each episode."""
        return {(one["wave"], one["row"], one["first"]): one for one in self.tables.episodes.to_pylist()}

    def _link(self, wave: int, given: Mapping[str, Any]) -> Link:
        """Return the link from an invocation to the sender of one of its inputs."""
        tree = self.tick_id(wave, given["sent"])
        wire = f"{given['from_node']}.{given['from_port']} → {given['node']}.{given['port']}"
        return Link(tree, _hex(16, tree, given["from_node"]), wire, given["message"])

    def _holds(self, wave: int, given: Mapping[str, Any]) -> bool:
        """Return whether the tick that an input was sent at is in this trace: a fork begins after some of them."""
        place = self._place(wave, given["sent"])
        return place < len(self._ticks) and int(self._ticks[place]) == wave << 32 | given["sent"]

    def _place(self, wave: int, tick: int) -> int:
        return int(np.searchsorted(self._ticks, wave << 32 | tick))

    def _bounds(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return where each tick begins and ends in a table, (ticks,) each."""
        if name not in self._parts:
            key = _keys(getattr(self.tables, name))
            self._parts[name] = np.searchsorted(key, self._ticks), np.searchsorted(key, self._ticks, side="right")
        return self._parts[name]

    def _rows(self, name: str, place: int) -> list[dict[str, Any]]:
        begin, end = (int(side[place]) for side in self._bounds(name))
        table: pa.Table = getattr(self.tables, name)
        return list(table.slice(begin, end - begin).to_pylist())

    def _unfinished(self, place: int) -> list[str]:
        """Return the nodes that were due at the last tick of a wave but have no record, because of an error or a kill.

        A missing record of an earlier tick is no error of the node: a kill between two modules' blocks loses one of them.
        """
        if place + 1 < len(self._ticks) and self._ticks[place + 1] >> 32 == self._ticks[place] >> 32:
            return []
        begin, end = (int(side[place]) for side in self._bounds("invocations"))
        tick = int(self._ticks[place] & 0xFFFFFFFF)
        began, end_of = self.tables.played.began, self._bounds("ticks")
        ages = tick - began[end_of[0][place]:end_of[1][place]]  # (B,) a node with a rate is due by the age of each episode
        due = [node for node in self.header["graph"]["order"] if (ages % self._every.get(node, 1) == 0).any()]
        if end - begin >= len(due):
            return []
        fired = set(self.tables.invocations["node"].slice(begin, end - begin).to_pylist())
        return [node for node in due if node not in fired]


def identity_of(header: Mapping[str, Any]) -> str:
    """Return 16 hex digits that identify a run, independent of its folder."""
    clock = header["clock"]
    return _hex(16, header["run_id"], clock["epoch"], clock["monotonic"], header["graph_hash"])


def _keys(table: pa.Table) -> np.ndarray:
    keys: np.ndarray = table["wave"].to_numpy().astype(np.int64) << 32 | table["tick"].to_numpy()
    return keys


def _hex(digits: int, *names: object) -> str:
    return hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()[:digits]


def _ns(when: Any) -> int:
    return int(when.value)  # a pandas Timestamp: Python's datetime would lose the nanoseconds


def _mean(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return any(known) if isinstance(known[0], bool) else sum(known) / len(known)


def _json_values(scalars: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as JSON allows: non-finite numbers as text, nulls dropped."""
    return {name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in scalars.items() if value is not None}


def _running(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the running worlds, by episode number if known, else by row."""
    name = "row" if rows[0]["episode"] is None else "episode"
    return {f"{name}s": ", ".join(str(row[name]) for row in rows)}


def _by_node(scalars: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return rounded values for display: {"cost": {"energy": 0.6808}}. The attributes have every digit."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in _json_values(scalars).items():
        node, _, port = name.partition(".")
        found.setdefault(node, {})[port] = _short(value)
    return found


def _message(sent: Mapping[str, Any]) -> dict[str, Any]:
    fields = {"shape": f"{sent['dtype']} {tuple(sent['shape'])}", "hash": sent["hash"]}
    return fields | {name: _short(value) for name, value in _json_values({name: sent[name] for name in STATISTICS}).items()}


def _short(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
