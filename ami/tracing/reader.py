"""Trace: what the log holds, as tables; its digest, and where two traces part.

A killed process leaves its files cut off at any byte: what is whole is read, the torn end is skipped and counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import safetensors.torch
import torch
from torch import Tensor

from ami.errors import TraceError, unknown_name
from ami.tracing.header import read_header
from ami.tracing.node_file import END_OF_STREAM, NOTES
from ami.tracing.writer import INCOMPLETE

if TYPE_CHECKING:
    import pandas as pd

KEY = ("wave", "tick")


class Difference(NamedTuple):
    """Where two traces part first; `port` is None when only one of them holds this invocation."""

    wave: int
    tick: int
    node: str
    port: str | None

    def __str__(self) -> str:
        what = f"{self.node}.{self.port}" if self.port else f"{self.node}: only one trace holds this invocation"
        return f"wave {self.wave}, tick {self.tick}, {what}"


@dataclass(frozen=True)
class Trace:
    """The trace of one run.

    Attributes:
        folder: the run's folder.
        header: the run header, see `ami.tracing.header`.
        tables: one Arrow table per node, in firing order; one row per invocation, sorted by wave and tick. The columns
            are those of `ami.tracing.node_file`, and `agent`, the folder it was found in.
        ports: {node: {port: (dtype, shape behind the batch)}}.
        truncated: how many files end in the middle of a record.
    """

    folder: Path
    header: Mapping[str, Any]
    tables: Mapping[str, pa.Table]
    ports: Mapping[str, Mapping[str, tuple[str, tuple[int, ...]]]]
    truncated: int

    @classmethod
    def open(cls, folder: Path) -> Trace:
        """Read the trace of a run: `folder/header.json` and every `*.arrow` below `folder/trace`.

        Several agents' folders are read as one. Where an invocation was recorded twice, because a process died and its
        tick was repeated, the later record counts.

        Raises:
            TraceError: there is no run in this folder, or it holds no trace.
        """
        folder = Path(folder)
        header = read_header(folder)
        tables: dict[str, list[pa.Table]] = {}
        ports: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
        truncated = 0
        paths = sorted((folder / "trace").glob("**/*.arrow"))
        if not paths:
            fault = next((path.read_text().strip() for path in (folder / "trace").glob(f"**/{INCOMPLETE}")), "")
            raise TraceError(f"{folder} holds no trace: expected {folder / 'trace'}/**/*.arrow"
                             + (f", but {fault}. Fix: run again, on a disk with room" if fault else
                                ". Fix: run again with trace.record=true"))
        for path in paths:
            whole, is_torn = read_batches(path)
            truncated += is_torn
            if whole:
                table = pa.Table.from_batches(whole)
                node = table.schema.metadata[b"node"].decode()
                described = json.loads(table.schema.metadata[b"ports"])
                ports[node] = {port: (dtype, tuple(shape)) for port, (dtype, shape) in described.items()}
                agent = pa.repeat(pa.scalar(path.parent.name), len(table))
                tables.setdefault(node, []).append(table.append_column("agent", agent))
        if not tables:
            raise TraceError(f"{folder} holds no trace: a kill or a full disk cut its files off before their first record "
                             "was whole. Fix: run again")
        order = [node for node in header["graph"]["order"] if node in tables]
        order += sorted(set(tables) - set(order))
        # what is joined is let go: a long trace is not held twice
        return cls(folder, header, {node: _joined(tables.pop(node)) for node in order}, ports, truncated)

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """Why a disk stopped the record before the mind was done, a sentence per process; empty when nothing did."""
        return tuple(path.read_text().strip() for path in sorted((self.folder / "trace").glob(f"**/{INCOMPLETE}")))

    @cached_property
    def unfinished(self) -> tuple[str, ...]:
        """The files that do not end as closed ones do: their process was killed, or writes still, or its disk was full."""
        paths = sorted((self.folder / "trace").glob("**/*.arrow"))
        return tuple(path.relative_to(self.folder).as_posix() for path in paths if not _is_finished(path))

    def part(self, kept: Callable[[pa.Table], pa.Array | pa.ChunkedArray]) -> Trace:
        """The invocations for which `kept` says true, a table of one node at a time; nodes without any are left out."""
        tables = {node: table.filter(kept(table)).combine_chunks() for node, table in self.tables.items()}
        return replace(self, tables={node: table for node, table in tables.items() if len(table)})

    def frame(self, node: str) -> pd.DataFrame:
        """One node's invocations as a pandas table, with `us`, how long each took in microseconds."""
        frame = self.table(node).to_pandas()
        frame["us"] = (frame["end"] - frame["start"]) / 1000
        return frame

    def table(self, node: str) -> pa.Table:
        """One node's invocations.

        Raises:
            UnknownName: the trace holds no such node.
        """
        if node not in self.tables:
            raise unknown_name("node", node, self.tables)
        return self.tables[node]

    @cached_property
    def waves(self) -> dict[int, int]:
        """How many ticks each wave took."""
        ticks: dict[int, int] = {}
        for table in self.tables.values():
            for wave, tick in zip(table["wave"].to_pylist(), table["tick"].to_pylist(), strict=True):
                ticks[wave] = max(ticks.get(wave, 0), tick + 1)
        return dict(sorted(ticks.items()))

    def message(self, node: str, port: str, wave: int, tick: int) -> Tensor:
        """A recorded message, (B, …): needs a run that recorded payloads.

        Raises:
            UnknownName: the node has no such port.
            TraceError: this invocation, or its payload, was not recorded.
        """
        table = self.table(node)
        if port not in self.ports[node]:
            raise unknown_name("port", f"{node}.{port}", [f"{node}.{name}" for name in self.ports[node]])
        if f"{port}.data" not in table.column_names:
            raise TraceError(f"{self.folder} holds hashes and statistics of {node}.{port}, not its values. "
                             f"Fix: run again with trace.level=full 'trace.ports=[{node}.{port}]'")
        found = np.flatnonzero((table["wave"].to_numpy() == wave) & (table["tick"].to_numpy() == tick))
        if not len(found):
            raise TraceError(f"{self.folder} holds no tick {tick} of wave {wave} for {node}: expected one of "
                             f"{self.waves} (ticks by wave)")
        row = int(found[0])
        dtype, shape = self.ports[node][port]
        data = bytearray(table[f"{port}.data"][row].as_py())
        full = (table["batch"][row].as_py(), *shape)
        kind: torch.dtype = getattr(torch, dtype)
        return torch.frombuffer(data, dtype=kind).reshape(full) if data else torch.empty(full, dtype=kind)

    def notes(self, node: str, wave: int) -> dict[int, dict[str, Tensor]]:
        """What a node's steps noted, (B, …) by tick and name: needs a run that recorded the node's payloads.

        Raises:
            UnknownName: the trace holds no such node.
        """
        table = self.table(node)
        if NOTES not in table.column_names:
            return {}
        rows = np.flatnonzero(table["wave"].to_numpy() == wave)
        held = table.select(["tick", NOTES]).take(pa.array(rows)).to_pylist()
        return {row["tick"]: safetensors.torch.load(row[NOTES]) for row in held if row[NOTES]}

    def digest(self) -> str:
        """SHA-256 over (wave, tick, node, port, content hash) of every message, node by node in firing order.

        It depends on what was said and at which tick, not on who wrote it down, in which groups, or how long it took.
        """
        digest = hashlib.sha256()
        for node, table in self.tables.items():
            for port in sorted(self.ports[node]):
                digest.update(f"{node}.{port}\0{table.num_rows}\0".encode())
                for name in KEY:
                    digest.update(table[name].to_numpy().astype("<i8").tobytes())
                digest.update(b"".join(table[f"{port}.hash"].to_pylist()))
        return digest.hexdigest()

    def said(self, node: str) -> dict[tuple[int, int], dict[str, bytes]]:
        """The hashes of a node's messages by (wave, tick) and port; empty where the trace holds no such node."""
        if node not in self.tables:
            return {}
        table, ports = self.tables[node], list(self.ports[node])
        hashes = zip(*(table[f"{port}.hash"].to_pylist() for port in ports), strict=True)
        keys = zip(*(table[name].to_pylist() for name in KEY), strict=True)
        return {key: dict(zip(ports, row, strict=True)) for key, row in zip(keys, hashes, strict=True)}

    def compare(self, other: Trace, until: Mapping[int, int] | None = None) -> Difference | None:
        """The first message, in the order they were sent, that differs; None when the traces say the same.

        Args:
            other: the other trace.
            until: by wave, how many ticks are compared; None compares all.
        """
        nodes = [*self.tables, *(node for node in other.tables if node not in self.tables)]
        firsts = [(wave, tick, rank, node, port)
                  for rank, node in enumerate(nodes)
                  for wave, tick, port in _first_differences(self, other, node, until)]
        if not firsts:
            return None
        wave, tick, _, node, port = min(firsts, key=lambda first: first[:3])
        return Difference(wave, tick, node, port)


def read_batches(path: Path) -> tuple[list[pa.RecordBatch], bool]:
    """The whole record batches of one file, and whether it ends in the middle of one."""
    batches: list[pa.RecordBatch] = []
    with pa.OSFile(str(path)) as file:
        try:
            stream = pa.ipc.open_stream(file)
            while True:
                batches.append(stream.read_next_batch())
        except StopIteration:
            return batches, False
        except (pa.ArrowInvalid, OSError):  # Arrow says either, depending on where the file was cut
            return batches, True


def _is_finished(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(END_OF_STREAM)))
        return file.read() == END_OF_STREAM


def _joined(tables: list[pa.Table]) -> pa.Table:
    """One table, sorted by wave and tick; of records of one invocation the latest is kept."""
    table = pa.concat_tables(tables, promote_options="default")
    wave, tick, start = (table[name].to_numpy() for name in (*KEY, "start"))
    order = np.lexsort((start, tick, wave))
    wave, tick = wave[order], tick[order]
    is_last = np.ones(len(order), bool)
    is_last[:-1] = (wave[1:] != wave[:-1]) | (tick[1:] != tick[:-1])
    if is_last.all() and (np.diff(order) == 1).all():
        return table.combine_chunks()
    return table.take(pa.array(order[is_last])).combine_chunks()


def _first_differences(one: Trace, two: Trace, node: str,
                       until: Mapping[int, int] | None) -> Iterator[tuple[int, int, str | None]]:
    """At most one: where this node's messages differ first."""
    said = [trace.said(node) for trace in (one, two)]
    for key in sorted(set(said[0]) | set(said[1])):
        if until is not None and key[1] >= until.get(key[0], 0):
            continue
        first, second = said[0].get(key), said[1].get(key)
        if first != second:
            port = None
            if first is not None and second is not None:
                port = next(p for p in [*first, *second] if first.get(p) != second.get(p))
            yield (*key, port)
            return
