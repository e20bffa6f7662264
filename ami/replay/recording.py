"""Recording: a run with recorded messages between agent and world, opened for re-execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ami.blueprint import Episode, World
from ami.config.compose import Config, compose, to_graph
from ami.errors import GraphError, SettingError, TraceError, TrustError, UnknownName
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.runtime.held_modules import Weights
from ami.runtime.mailbox import Outputs, Parcel
from ami.saved.agent_file import AGENT_FILE, read_weights
from ami.session.evaluation import MANIFEST
from ami.trace.header import NAME as HEADER
from ami.trace.header import versions
from ami.trace.provenance import changes, origin, run_code
from ami.trace.reader import Difference, Trace, tensor_of

EPISODE = "episode"


@dataclass(frozen=True)
class Recording:
    """A recorded run.

    Attributes:
        trace: hashes of all messages, and the world's messages in full.
        config: the run's configuration, composed from its overrides.
        graph: its graph, built by the current code.
        weights: the run's weights by node.
        waves: the first episodes by wave, in row order.
        episodes: every episode of the manifest, by number.
        ticks: number of ticks by wave that all nodes recorded; the last tick of a killed run may be incomplete.
    """

    trace: Trace
    config: Config
    graph: Graph
    weights: Weights
    waves: Mapping[int, Sequence[Episode]]
    episodes: Sequence[Episode]
    ticks: Mapping[int, int]

    @classmethod
    def open(cls, folder: Path, allow: Sequence[str] = ()) -> Recording:
        """Open a run's folder.

        Args:
            folder: the run's folder.
            allow: prefixes of your own packages that its modules may come from; the run's files cannot add any.

        Raises:
            TraceError: the folder holds no run or trace, or only statistics were recorded.
            UnknownName, SettingError, TrustError: its configuration no longer composes; the message names the header.
        """
        trace = Trace.open(folder)
        details = trace.header["details"]
        of = [str(details[kind]) for kind in ("replay_of", "swap_of", "fork_of") if kind in details]
        if of:
            raise TraceError(f"{folder} is a replay of {of[0]}, not a recording: expected a folder that `ami run` left. "
                             f"Fix: the folder of {of[0]}")
        if not _kept(trace):
            raise TraceError(f"{folder} holds hashes and statistics of its world's outputs, not the messages, and cannot be "
                             "re-executed. Fix: run again with trace.level=boundary")
        if "overrides" not in details:
            raise TraceError(f"{folder} has no details.overrides in {HEADER}: expected a run of `ami run`. Fix: run again")
        try:
            config = compose(details["overrides"], allow=allow)
            graph = to_graph(config)
        except (SettingError, UnknownName, TrustError, GraphError) as error:
            fault = f"{folder / HEADER}: details.overrides: {' '.join(str(error).split())}"
            raise (TraceError if isinstance(error, GraphError) else type(error))(fault) from None
        left_out = [node for node in graph.order if node not in trace.tables]
        if config.settings.prune and left_out:
            raise TraceError(f"{folder} was recorded with prune=true, so {', '.join(left_out)} did not fire: expected the "
                             "messages of every node. Fix: run again with prune=false")
        _check_ports(trace, graph)
        manifest = Manifest.load(folder / MANIFEST)
        waves = _first_episodes(trace, graph, manifest, config.settings.evaluation.batch)
        ticks = {wave: count for wave, count in _whole_ticks(trace).items() if wave in waves}
        return cls(trace, config, graph, read_weights(folder / AGENT_FILE), waves, manifest.episodes(), ticks)

    @property
    def folder(self) -> Path:
        return self.trace.folder

    @cached_property
    def worlds(self) -> tuple[str, ...]:
        """The nodes of its worlds."""
        return self.graph.nodes_of(World)

    @property
    def seed(self) -> int:
        return int(self.trace.header["seed"])

    def other(self, overrides: Sequence[str]) -> Config:
        """Return the recorded configuration with these overrides.

        Raises:
            SettingError, UnknownName: it does not compose; names the recorded settings of a substituted module.
        """
        try:
            return compose([*self.config.overrides, *overrides], allow=self.config.allow)
        except SettingError as error:
            swapped = {name for name, value in (text.split("=", 1) for text in overrides if "=" in text) if "." not in name}
            names = [text.split("=")[0].lstrip("+") for text in self.config.overrides]
            idle = [f"~{name}" for name in names if name.split(".")[0] in swapped
                    and f"{name.split('.')[0]} has no setting '{name.partition('.')[2]}'" in str(error)]
            if not idle:
                raise
            raise SettingError(f"{error}\n{self.folder} was run with settings that the substituted module does not have. "
                               f"Fix: remove them, {' '.join([*overrides, *idle])}") from None

    def changes(self) -> list[str]:
        """Return what has changed since the recording, a sentence each."""
        header = self.trace.header
        then, now = header["graph"], self.graph.describe()
        plain = {"settings": {**then["nodes"], "wires": dict.fromkeys(then["wires"], "wired")}}
        given = {"settings": {**now["nodes"], "wires": dict.fromkeys(now["wires"], "wired")}}
        found = list(changes(plain, given))
        found += changes(header["details"].get("origin", {}), origin(self.weights, run_code(self.graph)))
        return found + [f"versions.{text}" for text in changes(header["versions"], versions())]

    def begun(self, wave: int, tick: int) -> tuple[Tensor, list[Episode]] | None:
        """Return the rows (B,) that begin an episode at a tick, and every row's episode; None if no row does."""
        first = self.waves[wave]
        if tick == 0:
            return torch.ones(len(first), dtype=torch.bool), list(first)
        world = self.worlds[0]
        if EPISODE not in self.trace.ports[world]:
            return None
        was, numbers = (self._tape(world, EPISODE).message(wave, at) for at in (tick - 1, tick))
        rows = (numbers != was) & (numbers >= 0)
        if not bool(rows.any()):
            return None
        return rows, [self.episodes[max(number, 0)] for number in numbers.tolist()]

    def shown(self, wave: int, tick: int) -> dict[str, Outputs]:
        """Return every output of the worlds at a tick, (B, …), by node."""
        return {world: {port: self._tape(world, port).message(wave, tick) for port in self.trace.ports[world]}
                for world in self.worlds}

    def actions(self, wave: int, tick: int) -> dict[str, dict[str, Tensor]]:
        """Return the outputs that the worlds receive, as sent at a tick, (B, …), by node."""
        found: dict[str, dict[str, Tensor]] = {}
        for node, port in self.graph.actions_of(self.worlds):
            found.setdefault(node, {})[port] = self._tape(node, port).message(wave, tick)
        return found

    def output(self, node: str, port: str, wave: int, tick: int) -> np.ndarray:
        """Return a recorded scalar message, (B,); every trace level has these."""
        return self._tape(node, port).values(wave, tick)

    def actions_parcel(self, wave: int, tick: int, others: Mapping[str, Outputs] | None = None) -> list[Parcel]:
        """Return the recorded actions at a tick as a parcel, for a worker whose own actions may differ.

        Args:
            wave, tick: when; empty before tick 0.
            others: the other messages of their senders, by node.
        """
        if tick < 0:
            return []
        return [(tick, {node: {**(others or {}).get(node, {}), **sent} for node, sent in self.actions(wave, tick).items()})]

    def _tape(self, node: str, port: str) -> _Tape:
        if (node, port) not in self._tapes:
            self._tapes[node, port] = _Tape(self.trace, node, port)
        return self._tapes[node, port]

    @cached_property
    def _tapes(self) -> dict[tuple[str, str], _Tape]:
        return {}


def cause(first: Difference, changes: Sequence[str]) -> str:
    """Return why a re-execution may differ: the changes since, those of the first differing node first."""
    own = [text for text in changes if f".{first.node}" in text.split(" was ")[0]]
    return "; ".join([*own, *(text for text in changes if text not in own)]) or (
        "no known dependency has changed: the module has another source of randomness, keeps state outside its carry, or "
        "reads a clock")


class _Tape:
    """One port's messages, indexed by wave and tick; at a tick at which its node rested, the last one."""

    def __init__(self, trace: Trace, node: str, port: str) -> None:
        self._table, self._port = trace.table(node), port
        self._every = _every(trace, node)
        self._batch = self._table["batch"].to_numpy()
        keys = zip(self._table["wave"].to_pylist(), self._table["tick"].to_pylist(), strict=True)
        self._rows = {key: row for row, key in enumerate(keys)}
        self._dtype, self._shape = trace.ports[node][port]
        self._where = f"{trace.folder} holds no content of {node}.{port}"

    def values(self, wave: int, tick: int) -> np.ndarray:
        return np.array(self._held("rows", wave, tick)[0], np.float32)

    def message(self, wave: int, tick: int) -> Tensor:
        data, batch = self._held("data", wave, tick)
        return tensor_of(data, self._dtype, (batch, *self._shape))

    def _row(self, wave: int, tick: int) -> int | None:
        """Return the record of a node's last firing up to a tick: at most as many ticks ago as it rests."""
        recent = ((wave, then) for then in range(tick, tick - self._every, -1))
        return next((self._rows[key] for key in recent if key in self._rows), None)

    def _held(self, kind: str, wave: int, tick: int) -> tuple[Any, int]:
        """Return a cell and its number of worlds."""
        row, column = self._row(wave, tick), f"{self._port}.{kind}"
        held = None if row is None or column not in self._table.column_names else self._table[column][row].as_py()
        if row is None or held is None:
            raise TraceError(f"{self._where} at wave {wave}, tick {tick}. Fix: run again with trace.level=boundary")
        return held, int(self._batch[row])


def _check_ports(trace: Trace, graph: Graph) -> None:
    """Check the recorded messages between agent and world against the ports of the graph.

    Raises:
        TraceError: names the port, the recorded type and the expected one.
    """
    for node, port in (name.split(".") for name in graph.boundary()):
        if port == EPISODE and port not in trace.ports.get(node, {}):
            continue  # recorded before worlds sent it
        expected = graph.drafts[node].outputs[port]
        shape, dtype = expected.shape(graph.dims[node]), str(expected.dtype).removeprefix("torch.")
        found = trace.ports.get(node, {}).get(port)
        if found is None or f"{node}.{port}" not in _kept(trace) or found[1] != shape or (
                expected.dtype is not None and found[0] != dtype):
            kind = "no content" if found is None or f"{node}.{port}" not in _kept(trace) else f"{found[0]} {found[1]}"
            raise TraceError(f"{trace.folder} holds {kind} of {node}.{port}: expected {dtype} {shape}, as its configuration "
                             "gives. Fix: run again with trace.level=boundary")


def _first_episodes(trace: Trace, graph: Graph, manifest: Manifest, batch: int) -> dict[int, list[Episode]]:
    """Return the first episodes by wave, in row order; of a trace without episode numbers, the waves of the manifest.

    Raises:
        TraceError: the trace and the manifest do not fit.
    """
    episodes, found = manifest.episodes(), dict(manifest.waves(batch))
    world = graph.nodes_of(World)[0]
    if EPISODE in trace.ports[world]:
        tape = _Tape(trace, world, EPISODE)
        numbers = {wave: tape.message(wave, 0).tolist() for wave in trace.waves}
        unknown = [number for row in numbers.values() for number in row if not 0 <= number < len(episodes)]
        if unknown:
            raise TraceError(f"{trace.folder} holds episode {unknown[0]}, but {MANIFEST} has {len(episodes)} pairs: "
                             "expected the same run. Fix: copy the run again from where it was made")
        return {wave: [episodes[number] for number in row] for wave, row in numbers.items()}
    waves = {wave: first for wave, first in found.items() if wave in trace.waves}
    for wave, first in waves.items():
        if len(first) != (rows := _rows(trace, wave)):
            raise TraceError(f"{trace.folder} holds wave {wave} of {rows} worlds, but {MANIFEST} and evaluation.batch give "
                             f"{len(first)}: expected the same. Fix: copy the run again from where it was made")
    return waves


def _rows(trace: Trace, wave: int) -> int:
    """Return the number of parallel worlds of a wave."""
    return max(int(table["batch"].to_numpy()[table["wave"].to_numpy() == wave].max(initial=0))
               for table in trace.tables.values())


def _kept(trace: Trace) -> set[str]:
    """Return the ports whose messages were recorded in full."""
    return {f"{node}.{name.removesuffix('.data')}" for node, table in trace.tables.items()
            for name in table.column_names if name.endswith(".data")}


def _whole_ticks(trace: Trace) -> dict[int, int]:
    """Return the number of ticks by wave of which every due node has a record."""
    counts: dict[int, int] = dict(trace.waves)
    for node in trace.header["graph"]["order"]:
        found = trace.tables.get(node)
        waves = np.zeros(0, int) if found is None else found["wave"].to_numpy()
        for wave in counts:
            counts[wave] = min(counts[wave], int((waves == wave).sum()) * _every(trace, node))
    return counts


def _every(trace: Trace, node: str) -> int:
    """Return the number of ticks between two firings of a node."""
    every: Mapping[str, int] = trace.header["graph"].get("every", {})
    return every.get(node, 1)
