"""Tables: a trace as tidy Arrow tables of episodes, ticks, invocations, inputs and messages. docs/traces.md is their schema.

Each table is created on first access, and is an ordinary `pyarrow.Table`: `tables.ticks.to_pandas()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ami import rollout
from ami.blueprint import World
from ami.evaluation.manifest import Manifest
from ami.trace.arrivals import arrivals
from ami.trace.invocation import implementation
from ami.trace.node_file import STATISTICS
from ami.trace.reader import Trace
from ami.trace.roles import Roles
from ami.views.played import EPISODE, Played, played

NAMES = ("episodes", "ticks", "invocations", "inputs", "messages")


class Tables:
    """The tidy tables of one run.

    Attributes:
        trace: their source.
        roles: the roles of its nodes.
        world: the node of the first world.
        over: the worlds' flags that end an episode, "node.port".
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.roles = Roles(trace.header)
        self.world = self.roles.world
        self.over = [f"{world}.{flag}" for world in self.roles.nodes_of(World) for flag in rollout.OVER]

    @classmethod
    def load(cls, run: Path | str) -> Tables:
        """Return the tables of a run's folder.

        Raises:
            TraceError: the folder holds no run, or no trace.
        """
        return cls(Trace.open(Path(run)))

    @cached_property
    def episodes(self) -> pa.Table:
        """One row per episode: how it ended."""
        ticks, live = self.ticks, np.flatnonzero(self.played.live)
        wave, row, tick = (ticks[name].to_numpy()[live] for name in ("wave", "row", "tick"))
        began = self.played.began[live]
        order = np.lexsort((tick, began, row, wave))
        key = np.stack([wave, row, began])[:, order]
        ends = np.flatnonzero(np.r_[(key[:, 1:] != key[:, :-1]).any(0), True]) if len(order) else order
        firsts = np.r_[0, ends[:-1] + 1] if len(order) else order
        rows = ticks.take(pa.array(live[order]))
        last, first = rows.take(pa.array(ends)), key[2][ends]
        columns: dict[str, Any] = {name: last[name] for name in ("agent", "wave", "row", "episode", "kind")}
        columns["first"] = pa.array(first, pa.int32())
        columns["ticks"] = pa.array(ends - firsts + 1, pa.int32())
        columns["steps"] = pa.array(last["tick"].to_numpy() - first, pa.int32())  # a fork's first ticks count
        flags = [last[name].fill_null(False).to_numpy() for name in self.over if name in last.column_names]
        columns["over"] = pa.array(np.any(flags, axis=0) if flags else np.zeros(len(ends), bool))
        success, reward = f"{self.world}.success", f"{self.world}.reward"
        columns["success"] = last[success] if success in last.column_names else pa.nulls(len(ends), pa.bool_())
        rewards = rows[reward].fill_null(0).to_numpy().astype(np.float64) if reward in last.column_names else None
        columns["return"] = (pa.nulls(len(ends), pa.float64()) if rewards is None or not len(ends)
                             else pa.array(np.add.reduceat(rewards, firsts)))
        columns["start"] = rows.take(pa.array(firsts))["start"]
        columns["end"] = last["end"]
        return pa.table(columns)

    @cached_property
    def ticks(self) -> pa.Table:
        """One row per tick of one world: every scalar message as a column `node.port`."""
        frame, (of, rows) = self._frame, self._rows
        wave, tick = frame.wave[of], frame.tick[of]
        columns: dict[str, Any] = {
            "agent": pa.array(frame.agent).take(pa.array(of)), "wave": pa.array(wave), "tick": pa.array(tick),
            "row": pa.array(rows), **self._pairs(wave, rows),
            "start": self._time(frame.start[of]), "end": self._time(frame.end[of]),
            "us": pa.array((frame.end - frame.start)[of] / 1000), "busy_us": pa.array(frame.busy[of] / 1000),
            "nodes": pa.array(frame.nodes[of])}
        columns["live"] = pa.array(self.played.live)
        for name, values in self._scalars.items():
            node, port = name.split(".")
            kind = pa.bool_() if self.trace.ports[node][port][0] == "bool" else pa.float32()
            content = values > 0 if kind == pa.bool_() else values
            columns[name] = pa.array(content, kind, mask=~self._fired(node)[of])
        return pa.table(columns)

    @cached_property
    def invocations(self) -> pa.Table:
        """One row per firing of a node, in firing order."""
        parts = []
        for place, (node, table) in enumerate(self.trace.tables.items()):
            start, end = table["start"].to_numpy(), table["end"].to_numpy()
            parts.append(pa.table({
                "agent": table["agent"], "wave": table["wave"], "tick": table["tick"],
                "place": pa.array(np.full(len(table), place, np.int32)), "node": _same(node, len(table)),
                "module": _same(implementation(self.trace, node), len(table)), "worlds": table["batch"],
                "start": self._time(start), "end": self._time(end), "us": pa.array((end - start) / 1000)}))
        return _sorted(parts, ("wave", "tick", "place"))

    @cached_property
    def inputs(self) -> pa.Table:
        """One row per input of an invocation; null on a delayed wire before the first message."""
        parts = []
        for place, (node, table) in enumerate(self.trace.tables.items()):
            tick = table["tick"].to_numpy()
            for wire, sent in arrivals(self.trace, node, table):
                none = sent < 0
                ids = [None if gone else f"{wire.node}.{wire.port}@{at}" for gone, at in zip(none, sent, strict=True)]
                parts.append(pa.table({
                    "agent": table["agent"], "wave": table["wave"], "tick": table["tick"],
                    "place": pa.array(np.full(len(table), place, np.int32)), "node": _same(node, len(table)),
                    "port": _same(wire.to_port, len(table)), "from_node": _same(wire.node, len(table)),
                    "from_port": _same(wire.port, len(table)), "message": pa.array(ids, pa.string()),
                    "sent": pa.array(sent, pa.int32(), mask=none), "age": pa.array(tick - sent, pa.int32(), mask=none)}))
        return _sorted(parts, ("wave", "tick", "place", "port"))

    @cached_property
    def messages(self) -> pa.Table:
        """One row per sent message."""
        parts = []
        for place, (node, table) in enumerate(self.trace.tables.items()):
            for port, (dtype, shape) in self.trace.ports[node].items():
                rows = f"{port}.rows" in table.column_names
                batch = table["batch"].to_numpy()
                statistics, values = self._statistics(node, port)
                parts.append(pa.table({
                    "agent": table["agent"], "wave": table["wave"], "tick": table["tick"],
                    "place": pa.array(np.full(len(table), place, np.int32)), "node": _same(node, len(table)),
                    "port": _same(port, len(table)),
                    "message": pa.array([f"{node}.{port}@{tick}" for tick in table["tick"].to_pylist()], pa.string()),
                    "dtype": _same(dtype, len(table)),
                    "shape": pa.array([[size, *shape] for size in batch.tolist()], pa.list_(pa.int32())),
                    "hash": pa.array([content.hex() for content in table[f"{port}.hash"].to_pylist()], pa.string()),
                    **statistics,
                    "values": values if rows else pa.nulls(len(table), pa.list_(pa.float32()))}))
        return _sorted(parts, ("wave", "tick", "place", "port"))

    @cached_property
    def played(self) -> Played:
        """The episodes, along the rows of `ticks`."""
        frame, (of, rows) = self._frame, self._rows
        found = played(frame.wave[of], frame.tick[of], rows, self._scalars.get(f"{self.world}.{EPISODE}"),
                       [self._scalars[name] for name in self.over if name in self._scalars])
        alive = self.trace.header["details"].get("alive")  # a fork: worlds whose episodes had not ended before
        return found if alive is None else found._replace(live=found.live & ((found.began > 0) | np.isin(rows, alive)))

    # Shared -------------------------------------------------------------------------------------------------------------

    @cached_property
    def _frame(self) -> _Frame:
        """Every recorded tick, in order."""
        tables = self.trace.tables.values()
        wave, tick, batch, start, end = (np.concatenate([table[name].to_numpy() for table in tables])
                                         for name in ("wave", "tick", "batch", "start", "end"))
        agent = np.concatenate([np.array(table["agent"].to_pylist(), object) for table in tables])
        key, first, of = np.unique(wave.astype(np.int64) << 32 | tick, return_index=True, return_inverse=True)
        starts, ends = np.full(len(key), np.iinfo(np.int64).max), np.zeros(len(key), np.int64)
        np.minimum.at(starts, of, start)
        np.maximum.at(ends, of, end)
        busy = np.bincount(of, end - start, len(key))
        return _Frame(key, wave[first], tick[first], batch[first], agent[first], starts, ends, busy,
                      np.bincount(of, minlength=len(key)).astype(np.int32))

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the tick (its place in the frame) and the world of each row of `ticks`."""
        batch = self._frame.batch
        return (np.repeat(np.arange(len(batch)), batch),
                np.concatenate([np.arange(size, dtype=np.int32) for size in batch] or [np.zeros(0, np.int32)]))

    @cached_property
    def _scalars(self) -> dict[str, np.ndarray]:
        """Every scalar message along the rows of `ticks`, by `node.port`; NaN where the node rested."""
        return {f"{node}.{port}": self._scalar(node, port) for node in self.trace.tables for port in self.trace.ports[node]
                if f"{port}.rows" in self.trace.tables[node].column_names}

    def _time(self, monotonic: np.ndarray) -> pa.Array:
        """Convert nanoseconds of the monotonic clock to time of day."""
        clock = self.trace.header["clock"]
        return pa.array(monotonic + (clock["epoch"] - clock["monotonic"]), pa.timestamp("ns", "UTC"))

    def _places(self, node: str) -> np.ndarray:
        """Return the index in the frame of each invocation of a node."""
        table = self.trace.tables[node]
        places: np.ndarray = np.searchsorted(
            self._frame.key, table["wave"].to_numpy().astype(np.int64) << 32 | table["tick"].to_numpy())
        return places

    def _fired(self, node: str) -> np.ndarray:
        """Return at which ticks of the frame a node fired, (ticks,) bool."""
        fired = np.zeros(len(self._frame.key), bool)
        fired[self._places(node)] = True
        return fired

    def _scalar(self, node: str, port: str) -> np.ndarray:
        """Return a scalar message's values along the rows of `ticks`; NaN where the node rested."""
        table, frame = self.trace.tables[node], self._frame
        begins = np.r_[0, np.cumsum(frame.batch)]
        values = np.full(begins[-1], np.nan, np.float32)
        batch = table["batch"].to_numpy()
        at = np.repeat(begins[self._places(node)], batch) + np.concatenate([np.arange(size) for size in batch])
        values[at] = table[f"{port}.rows"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return values

    def _statistics(self, node: str, port: str) -> tuple[dict[str, pa.Array], pa.Array | None]:
        """Return mean, std, min and max of a port's messages, null if unknown; and the values of scalars."""
        table = self.trace.tables[node]
        if f"{port}.rows" in table.column_names:
            values = table[f"{port}.rows"].combine_chunks()
            flat = values.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
            batch = table["batch"].to_numpy()
            begins = np.cumsum(batch) - batch
            with np.errstate(all="ignore"):
                mean = np.add.reduceat(flat, begins) / batch
                std = np.sqrt(np.add.reduceat((flat - np.repeat(mean, batch)) ** 2, begins) / batch)
            found = (mean, std, np.minimum.reduceat(flat, begins), np.maximum.reduceat(flat, begins))
            return {name: pa.array(column, pa.float32()) for name, column in zip(STATISTICS, found, strict=True)}, values
        nothing = pa.nulls(len(table), pa.float32())
        return {name: table[f"{port}.{name}"] if f"{port}.{name}" in table.column_names else nothing
                for name in STATISTICS}, None

    def _pairs(self, wave: np.ndarray, rows: np.ndarray) -> dict[str, pa.Array]:
        """Return the number and the kind of each world's episode; null if unknown.

        Traces of earlier versions hold no numbers: there a wave takes the next pairs of the manifest, one per row.
        """
        batch = ((self.trace.header["config"] or {}).get("evaluation") or {}).get("batch")
        sealed = self.trace.folder / "manifest.json"  # optional
        kinds = [str(pair["kind"]) for pair in Manifest.load(sealed).pairs] if sealed.exists() else []
        numbers = self.played.number
        if f"{self.world}.{EPISODE}" not in self._scalars:
            numbers = wave.astype(np.int64) * (batch or 0) + rows
            numbers = np.where((numbers < len(kinds)) & bool(batch), numbers, -1)
        return {"episode": pa.array(numbers, pa.int32(), mask=numbers < 0),
                "kind": pa.array([kinds[number] if 0 <= number < len(kinds) else None for number in numbers.tolist()],
                                 pa.string())}


class _Frame(NamedTuple):
    """The ticks of a trace, (ticks,) each; `busy` is the time spent in modules in ns, `nodes` the number that fired."""

    key: np.ndarray
    wave: np.ndarray
    tick: np.ndarray
    batch: np.ndarray
    agent: np.ndarray
    start: np.ndarray
    end: np.ndarray
    busy: np.ndarray
    nodes: np.ndarray


def _same(value: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value]))


def _sorted(parts: list[pa.Table], by: Sequence[str]) -> pa.Table:
    """Return the parts as one table, with names as plain strings."""
    plain = [part.cast(pa.schema([(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type)
                                  for field in part.schema])) for part in parts]
    return pa.concat_tables(plain).sort_by([(name, "ascending") for name in by]).combine_chunks()


def load_trace(run: Path | str) -> Tables:
    """Return the trace of a run's folder as tidy Arrow tables, each created on first access.

    Raises:
        TraceError: the folder holds no run, or no trace.
    """
    return Tables.load(run)
