"""Spans: a trace as trees of timed spans, one tree per tick or per episode, as MLflow's pages and OpenTelemetry show them.

A tick's tree holds one span per module that fired; a delayed wire is a link to the span that had sent the message, in an
earlier tick's tree. An episode's tree holds one span per tick of its world. Every id follows from the run, the wave and the
tick or row, so that a tree which is made again, by another process, is the same tree.
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

from ami.errors import require
from ami.trace.node_file import STATISTICS
from ami.views.query import Condition
from ami.views.tables import Tables

ROLES = ("world", "perception", "world_model", "configurator", "goal", "cost", "memory", "planner", "actor")
FIGURES = {"surprise": "world_model.surprise", "energy": "cost.energy"}
DIGITS = 5  # of a number that people read
WHEN = ("agent", "wave", "tick", "row", "episode", "kind", "start", "end", "us", "busy_us", "nodes", "live")


@dataclass(frozen=True)
class Link:
    """Points from a span to one that came before it: their ids, and the wire and message between them."""

    tree: str
    span: str
    wire: str
    message: str


@dataclass(frozen=True)
class Span:
    """One span.

    Attributes:
        id: 16 hex digits.
        parent: the id of the span it lies in; None for the root.
        name, kind: kind is the role of a module, TICK or EPISODE.
        start, end: nanoseconds since 1970.
        attributes, inputs, outputs: plain values.
        links: what delayed wires brought.
        fault: what went wrong in it; empty when nothing did.
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
        name: for people.
        kind: "tick" or "episode".
        agent, wave: whose, when.
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
    """Which ticks and episodes are taken; a tick in which a module did not finish always is.

    Args:
        every: every so manieth tick of each wave.
        episodes: every so manieth episode; 0 takes none.
        surprise: also every tick in which a living world surprised the mind by more than this.
        where: of all these, and of those that did not finish, only ticks in which this holds for a living world; and only
            episodes in whose life it does.
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
    """All trees of one run, grown when they are asked for.

    Args:
        tables: the run's.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables, self.header = tables, tables.trace.header
        self.run = identity_of(self.header)
        self._ticks = np.unique(_keys(tables.ticks))
        self._parts = dict[str, tuple[np.ndarray, np.ndarray]]()
        self._every = self.header["graph"].get("every", {})

    def tick_id(self, wave: int, tick: int) -> str:
        """The id of a tick's tree, whether it is taken or not."""
        return _hex(32, self.run, "tick", wave, tick)

    def ticks(self, sample: Sample) -> list[tuple[int, int]]:
        """The (wave, tick) that a sample takes, in order.

        Raises:
            UnknownName: its condition asks for a figure that no node says.
            SettingError: its condition asks for one that several nodes say.
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
        """What this share of the ticks does not exceed; None where no world model tells of a surprise."""
        known = self._surprises[np.isfinite(self._surprises)]
        return float(np.quantile(known, share)) if len(known) else None

    def episodes(self, sample: Sample) -> list[tuple[int, int]]:
        """The (wave, row) of the episodes that a sample takes, in order. Raises as `ticks`."""
        if not sample.episodes:
            return []
        found = list(self._ended)
        if sample.where is not None:
            held = sample.where.holds(self.tables.ticks)
            found = [one for one in found if held[self._lived[one]].any()]
        return found[::sample.episodes]

    def trees(self, sample: Sample, known: Mapping[str, int] | None = None) -> Iterator[Tree]:
        """The trees that a sample takes, ticks first; not those that are known with as many spans as they have now."""
        known = known or {}
        for wave, tick in self.ticks(sample):
            one = self.tick_id(wave, tick)
            place = self._place(wave, tick)
            begin, end = (int(side[place]) for side in self._bounds("invocations"))
            if known.get(one) != 1 + end - begin:
                yield self.tick(wave, tick)
        taken = set(self.ticks(sample))
        for wave, row in self.episodes(sample):
            tree = self.episode(wave, row, taken)
            if known.get(tree.id) != len(tree.spans):
                yield tree

    def tick(self, wave: int, tick: int) -> Tree:
        """What every module was given and said at one tick."""
        id, place = self.tick_id(wave, tick), self._place(wave, tick)
        rows, fired, inputs, messages = (self._rows(name, place) for name in ("ticks", "invocations", "inputs", "messages"))
        live = [row for row in rows if row["live"]] or rows
        scalars = {name: _mean([row[name] for row in live]) for name in rows[0] if name not in WHEN}
        fault = ", ".join(self._unfinished(place))
        root = Span(_hex(16, id), None, f"tick {tick}", "TICK", _ns(min(one["start"] for one in fired)),
                    _ns(max(one["end"] for one in fired)),
                    {"wave": wave, "tick": tick, "agent": rows[0]["agent"], "worlds": len(rows),
                     "live": sum(row["live"] for row in rows), "busy_us": rows[0]["busy_us"], **_told(scalars)},
                    _living(live), _by_node(scalars), fault=fault and f"did not finish: {fault}")
        spans = [root]
        for one in fired:
            node = one["node"]
            own = {name: value for name, value in scalars.items() if name.startswith(f"{node}.")}
            arrived = {given["port"]: given for given in inputs if given["node"] == node}
            links = tuple(self._link(wave, given) for given in arrived.values() if given["age"])
            spans.append(Span(
                _hex(16, id, node), root.id, node, self.role(node), _ns(one["start"]), _ns(one["end"]),
                {"module": one["module"], "wave": wave, "tick": tick, "worlds": one["worlds"], **_told(own)},
                {port: given["message"] for port, given in arrived.items()},
                {said["port"]: _message(said) for said in messages if said["node"] == node}, links))
        figures = {name: max(values) if name == "surprise" else sum(values) / len(values)
                   for name, port in FIGURES.items()
                   if (values := [row[port] for row in live if row.get(port) is not None and math.isfinite(row[port])])}
        return Tree(id, f"wave {wave}, tick {tick}", "tick", rows[0]["agent"], wave, tuple(spans), figures)

    def episode(self, wave: int, row: int, linked: set[tuple[int, int]] | None = None) -> Tree:
        """What happened to one world, tick by tick; those of `linked` point to their own trees."""
        id = _hex(32, self.run, "episode", wave, row)
        whole, rows = self._ended[wave, row], self.tables.ticks.take(pa.array(self._lived[wave, row])).to_pylist()
        name = f"wave {wave}, row {row}" if whole["episode"] is None else f"episode {whole['episode']}"
        outcome = {key: whole[key] for key in ("steps", "over", "success", "return") if whole[key] is not None}
        which = {key: whole[key] for key in ("agent", "wave", "row", "episode", "kind")}
        root = Span(_hex(16, id), None, name, "EPISODE", _ns(whole["start"]), _ns(whole["end"]), which,
                    {"kind": whole["kind"]}, outcome,
                    fault="" if whole["over"] else "the record ends before the episode does")
        spans = [root]
        for one in rows:
            scalars = {key: value for key, value in one.items() if key not in WHEN and value is not None}
            tick = self.tick_id(wave, one["tick"])
            link = (Link(tick, _hex(16, tick), "the same tick, module by module", ""),)
            spans.append(Span(_hex(16, id, one["tick"]), root.id, f"tick {one['tick']}", "TICK", _ns(one["start"]),
                              _ns(one["end"]), {"wave": wave, "row": row, "tick": one["tick"], **_told(scalars)},
                              links=link if (wave, one["tick"]) in (linked or ()) else ()))
        surprises = [one[FIGURES["surprise"]] for one in rows if one.get(FIGURES["surprise"]) is not None]
        figures = {key: value for key, value in outcome.items() if key != "over"}
        if surprises and math.isfinite(max(surprises)):
            figures["surprise"] = max(surprises)
        return Tree(id, name if whole["kind"] is None else f"{name} ({whole['kind']})", "episode", whole["agent"], wave,
                    tuple(spans), figures)

    def role(self, node: str) -> str:
        """The role of a node in capitals: its name where that is a role's, else the folder its module lies in."""
        path = str(self.header["graph"]["nodes"].get(node, {}).get("_target_", "")).split(".")
        return next((name for name in (node, *path[:-1]) if name in ROLES), "module").upper()

    @cached_property
    def _surprises(self) -> np.ndarray:
        """The highest surprise over the living worlds, (ticks,); -inf where there is none."""
        if FIGURES["surprise"] not in self.tables.ticks.column_names:
            return np.full(len(self._ticks), -np.inf)
        surprise = self.tables.ticks[FIGURES["surprise"]].to_numpy(zero_copy_only=False)
        live = self.tables.ticks["live"].to_numpy(zero_copy_only=False)
        high: np.ndarray = np.maximum.reduceat(
            np.where(live, np.nan_to_num(surprise.astype(float), nan=-np.inf), -np.inf), self._bounds("ticks")[0])
        return high

    @cached_property
    def _lived(self) -> Mapping[tuple[int, int], np.ndarray]:
        """The rows of `ticks` of each episode, in order."""
        ticks = self.tables.ticks
        live = np.flatnonzero(ticks["live"].to_numpy(zero_copy_only=False))
        key = ticks["wave"].to_numpy().astype(np.int64)[live] << 32 | ticks["row"].to_numpy()[live]
        order = np.argsort(key, kind="stable")
        found, begins = np.unique(key[order], return_index=True)
        parts: Sequence[np.ndarray] = np.split(live[order], begins[1:])
        return {(int(one >> 32), int(one & 0xFFFFFFFF)): part for one, part in zip(found, parts, strict=True)}

    @cached_property
    def _ended(self) -> Mapping[tuple[int, int], dict[str, Any]]:
        """The row of `episodes` of each episode."""
        return {(one["wave"], one["row"]): one for one in self.tables.episodes.to_pylist()}

    def _link(self, wave: int, given: Mapping[str, Any]) -> Link:
        """From an invocation to the one that had sent what it was given."""
        tree = self.tick_id(wave, given["sent"])
        wire = f"{given['from_node']}.{given['from_port']} → {given['node']}.{given['port']}"
        return Link(tree, _hex(16, tree, given["from_node"]), wire, given["message"])

    def _place(self, wave: int, tick: int) -> int:
        return int(np.searchsorted(self._ticks, wave << 32 | tick))

    def _bounds(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Where each tick begins and ends in a table, (ticks,) each."""
        if name not in self._parts:
            key = _keys(getattr(self.tables, name))
            self._parts[name] = np.searchsorted(key, self._ticks), np.searchsorted(key, self._ticks, side="right")
        return self._parts[name]

    def _rows(self, name: str, place: int) -> list[dict[str, Any]]:
        begin, end = (int(side[place]) for side in self._bounds(name))
        table: pa.Table = getattr(self.tables, name)
        return list(table.slice(begin, end - begin).to_pylist())

    def _unfinished(self, place: int) -> list[str]:
        """The nodes that were due at the last tick of a wave and left no record: an error or a kill stopped them.

        At earlier ticks a missing record tells of the log alone: a kill between two modules' blocks takes one of them.
        """
        if place + 1 < len(self._ticks) and self._ticks[place + 1] >> 32 == self._ticks[place] >> 32:
            return []
        begin, end = (int(side[place]) for side in self._bounds("invocations"))
        tick = int(self._ticks[place] & 0xFFFFFFFF)
        due = [node for node in self.header["graph"]["order"] if tick % self._every.get(node, 1) == 0]
        if end - begin >= len(due):
            return []
        fired = set(self.tables.invocations["node"].slice(begin, end - begin).to_pylist())
        return [node for node in due if node not in fired]


def identity_of(header: Mapping[str, Any]) -> str:
    """16 hex digits that name one run wherever its folder lies."""
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


def _told(scalars: Mapping[str, Any]) -> dict[str, Any]:
    """Only what JSON can say: a diverged model's figures as words."""
    return {name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in scalars.items() if value is not None}


def _living(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which worlds go on, by the numbers that people know them by."""
    name = "row" if rows[0]["episode"] is None else "episode"
    return {f"{name}s": ", ".join(str(row[name]) for row in rows)}


def _by_node(scalars: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """To be read: {"cost": {"energy": 0.6808}}. The attributes have every digit."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in _told(scalars).items():
        node, _, port = name.partition(".")
        found.setdefault(node, {})[port] = _short(value)
    return found


def _message(said: Mapping[str, Any]) -> dict[str, Any]:
    told = {"shape": f"{said['dtype']} {tuple(said['shape'])}", "hash": said["hash"]}
    return told | {name: _short(value) for name, value in _told({name: said[name] for name in STATISTICS}).items()}


def _short(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
