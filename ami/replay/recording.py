"""Recording: a run that kept what crosses the border of its mind, opened to be executed anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ami.blueprint import Episode
from ami.config import Config, compose, to_graph
from ami.errors import SettingError, TraceError
from ami.evaluation.manifest import Manifest
from ami.graph import Graph
from ami.job import MANIFEST, WEIGHTS, code_of
from ami.learning import checkpoint
from ami.tracing.header import versions
from ami.tracing.levels import WORLD
from ami.tracing.origin import changes, origin
from ami.tracing.reader import Trace
from ami.worker import Outputs, Weights


@dataclass(frozen=True)
class Recording:
    """A recorded run.

    Attributes:
        trace: what was said, hashed, and the world's messages whole.
        config: the run's configuration, composed anew.
        graph: its graph, as the code makes it now.
        weights: by node, those that the run lived with.
        waves: the episodes of every wave, in rows.
        ticks: how many ticks of every wave were recorded of all nodes; a killed run's last one may not be whole.
    """

    trace: Trace
    config: Config
    graph: Graph
    weights: Weights
    waves: Mapping[int, Sequence[Episode]]
    ticks: Mapping[int, int]

    @classmethod
    def open(cls, folder: Path, allow: Sequence[str] = ()) -> Recording:
        """Open a run's folder.

        Args:
            folder: of the run.
            allow: prefixes of your own packages that its modules may come from: a file is not asked whom to trust.

        Raises:
            TraceError: there is no run or trace in it, or the run kept statistics alone.
            UnknownName, SettingError, GraphError: its configuration does not compose any more.
        """
        trace = Trace.open(folder)
        details = trace.header["details"]
        of = [str(details[kind]) for kind in ("replay_of", "swap_of", "fork_of") if kind in details]
        if of:
            raise TraceError(f"{folder} is a replay of {of[0]}, not a recording: expected a folder that `ami run` left. "
                             f"Cure: the folder of {of[0]}")
        if WORLD not in trace.tables or f"{WORLD}.observation" not in _kept(trace):
            raise TraceError(f"{folder} holds hashes and statistics of what its world showed, not the messages: nothing can "
                             "be executed anew from that. Cure: run again with trace.level=boundary")
        if "overrides" not in details:
            raise TraceError(f"{folder} does not say how it was composed: expected what `ami run` writes. Cure: run again")
        config = compose(details["overrides"], allow=allow)
        tensors = checkpoint.load(folder / WEIGHTS)[0] if (folder / WEIGHTS).exists() else {}
        manifest = Manifest.load(folder / MANIFEST)
        sealed = manifest.waves(config.settings.evaluation.batch)
        waves = {wave: episodes for wave, episodes in sealed if wave in trace.waves}
        return cls(trace, config, to_graph(config), checkpoint.by_node(tensors), waves, _whole_ticks(trace))

    @property
    def folder(self) -> Path:
        return self.trace.folder

    @property
    def seed(self) -> int:
        return int(self.trace.header["seed"])

    def other(self, overrides: Sequence[str]) -> Config:
        """The configuration of another mind: the recorded one with these overrides.

        Raises:
            SettingError, UnknownName: it does not compose; names what the recorded run set of a module that is swapped.
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
            raise SettingError(f"{error}\n{self.folder} was run with these settings of the module that is swapped. "
                               f"Cure: take them back, {' '.join([*overrides, *idle])}") from None

    def changes(self) -> list[str]:
        """What the recording depends on and is not any more what it was, a sentence each."""
        header = self.trace.header
        then, now = header["graph"], self.graph.describe()
        plain = {"settings": {**then["nodes"], "wires": dict.fromkeys(then["wires"], "wired")}}
        given = {"settings": {**now["nodes"], "wires": dict.fromkeys(now["wires"], "wired")}}
        found = list(changes(plain, given))
        found += changes(header["details"]["origin"], origin(self.weights, code_of(self.graph)))
        return found + [f"versions.{text}" for text in changes(header["versions"], versions())]

    def shown(self, wave: int, tick: int) -> Outputs:
        """What the world showed at a tick: every output, (B, …)."""
        return {port: self._tapes[port].message(wave, tick) for port in self.trace.ports[WORLD]}

    def done(self, wave: int, tick: int) -> Outputs:
        """What the mind did at a tick: {"action": (B, A)}."""
        return {"action": self._action.message(wave, tick)}

    @cached_property
    def _tapes(self) -> dict[str, _Tape]:
        return {port: _Tape(self.trace, WORLD, port) for port in self.trace.ports[WORLD]}

    @cached_property
    def _action(self) -> _Tape:
        return _Tape(self.trace, "actor", "action")


class _Tape:
    """One port's messages, found by wave and tick without a search."""

    def __init__(self, trace: Trace, node: str, port: str) -> None:
        table = trace.table(node)
        self._data, self._batch = table[f"{port}.data"], table["batch"].to_numpy()
        keys = zip(table["wave"].to_pylist(), table["tick"].to_pylist(), strict=True)
        self._rows = {key: row for row, key in enumerate(keys)}
        dtype, self._shape = trace.ports[node][port]
        self._dtype: torch.dtype = getattr(torch, dtype)

    def message(self, wave: int, tick: int) -> Tensor:
        row = self._rows[wave, tick]
        full, data = (int(self._batch[row]), *self._shape), bytearray(self._data[row].as_py())
        return torch.frombuffer(data, dtype=self._dtype).reshape(full) if data else torch.empty(full, dtype=self._dtype)


def _kept(trace: Trace) -> set[str]:
    """The ports whose messages were recorded whole."""
    return {f"{node}.{name.removesuffix('.data')}" for node, table in trace.tables.items()
            for name in table.column_names if name.endswith(".data")}


def _whole_ticks(trace: Trace) -> dict[int, int]:
    """Ticks by wave of which every node that fires at each tick has a record."""
    every: Mapping[str, Any] = trace.header["graph"].get("every", {})
    counts: dict[int, int] = dict(trace.waves)
    for node in trace.header["graph"]["order"]:
        if node in every:
            continue
        found = trace.tables.get(node)
        waves = np.zeros(0, int) if found is None else found["wave"].to_numpy()
        for wave in counts:
            counts[wave] = min(counts[wave], int((waves == wave).sum()))
    return counts
