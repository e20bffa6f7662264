"""Trace: the log as tables, its digest, and the first difference between two traces.

A killed process may leave its files cut off at any byte. Whole records are read; the torn end is skipped and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from ami.dtypes import WIDTHS
from ami.errors import TraceError, unknown_name
from ami.storage.files import MIB, FileKind
from ami.storage.schema import shown
from ami.terminal.text import escaped
from ami.trace.header import printable_name, read_header
from ami.trace.node_file import END_OF_STREAM, NOTES
from ami.trace.stream_reader import FILE, Span, Stream
from ami.trace.writer import INCOMPLETE

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

KEY = ("wave", "tick")
OTHER_COLUMNS = 12  # of the tick table, in addition to the scalars
FREE_CELLS = 20_000_000  # of the tick table, whatever the size of the files
INCOMPLETE_FILE = FileKind("a note of what was not recorded", TraceError, "delete it", limit=MIB)


class Difference(NamedTuple):
    """The first difference between two traces; `port` is None if only one of them holds this invocation."""

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
        header: the run header, see `ami.trace.header`.
        tables: one Arrow table per node, in firing order; one row per invocation, sorted by wave and tick. The columns
            are those of `ami.trace.node_file`, and `agent`, the folder it was found in.
        ports: {node: {port: (dtype, shape after the batch)}}.
        truncated: number of files that end in the middle of a record.
    """

    folder: Path
    header: Mapping[str, Any]
    tables: Mapping[str, pa.Table]
    ports: Mapping[str, Mapping[str, tuple[str, tuple[int, ...]]]]
    truncated: int

    @classmethod
    def open(cls, folder: Path, span: Span | None = None) -> Trace:
        """Read the trace of a run: `folder/header.json` and every `*.arrow` below `folder/trace`.

        Several agents' folders are read as one trace. If an invocation was recorded twice, because a process died and its
        tick was repeated, the later record counts.

        Args:
            folder: the run's folder.
            span: read these ticks only, and of the files no more than they need; `waves`, `digest` and `compare` then
                know nothing of the others. A node without any of them has an empty table.

        Raises:
            TraceError: the folder holds no run, or no trace.
        """
        folder = Path(folder)
        header = read_header(folder)
        tables: dict[str, list[pa.Table]] = {}
        ports: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
        truncated = 0
        paths = trace_files(folder, "*.arrow")
        if not paths:
            fault = next(iter(_faults(folder)), "")
            raise TraceError(f"{folder} holds no trace: expected {folder / 'trace'}/**/*.arrow"
                             + (f", but {fault}. Fix: run again, on a disk with room" if fault else
                                ". Fix: run again with trace.record=true"))
        for path in paths:
            stream = Stream(path, folder, span)
            truncated += stream.is_torn
            if stream.batches or (span is not None and stream.schema is not None):
                table = pa.Table.from_batches(stream.batches, stream.schema)
                if span is not None:
                    table = table.filter(_within(table, span))
                if ports.setdefault(stream.node, dict(stream.ports)) != stream.ports:
                    raise FILE.refusal(path, f"its ports are {shown(list(stream.ports))}: expected those of the other files "
                                             f"of {stream.node}, dtypes and shapes included")
                agent = pa.repeat(pa.scalar(printable_name(path.parent)), len(table))
                tables.setdefault(stream.node, []).append(table.append_column("agent", agent))
        if not tables:
            raise TraceError(f"{folder} holds no trace: a kill or a full disk cut its files off before their first record "
                             "was whole. Fix: run again")
        order = [node for node in dict.fromkeys(header["graph"]["order"]) if node in tables]
        order += sorted(set(tables) - set(order))
        # popped: a long trace is not held in memory twice
        trace = cls(folder, header, {node: _joined(tables.pop(node)) for node in order}, ports, truncated)
        if span is None:
            trace._check_extent(sum(table.nbytes for table in trace.tables.values()))
        return trace

    @classmethod
    def first_wave(cls, folder: Path) -> int:
        """Return the first recorded wave, from the heads of the record batches. Raises as `open` does."""
        folder = Path(folder)
        streams = [Stream(path, folder, Span(-1, 0, 0)) for path in trace_files(folder, "*.arrow")]
        first = [wave for stream in streams for wave, _ in stream.waves]
        return min(first) if first else next(iter(cls.open(folder).waves))

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """Disk errors that ended the recording early, a sentence per process."""
        return _faults(self.folder)

    @cached_property
    def unfinished(self) -> tuple[str, ...]:
        """Files without an end mark: their process was killed or is still writing, or the disk was full."""
        return tuple(path.relative_to(self.folder).as_posix() for path in trace_files(self.folder, "*.arrow")
                     if not _is_finished(path))

    @cached_property
    def texts(self) -> frozenset[str]:
        """The ports, "node.port", whose messages are texts: (B, n) uint8. Traces of earlier versions name none."""
        return frozenset(f"{node}.{port}" for node, ports in self.ports.items() for port, (dtype, shape) in ports.items()
                         if f"{node}.{port}" in self.header.get("texts", ()) and dtype == "uint8" and len(shape) == 1)

    def part(self, kept: Callable[[pa.Table], pa.Array | pa.ChunkedArray]) -> Trace:
        """Return the invocations that `kept` selects, by a mask per node's table; nodes without any are left out."""
        tables = {node: table.filter(kept(table)).combine_chunks() for node, table in self.tables.items()}
        return replace(self, tables={node: table for node, table in tables.items() if len(table)})

    def frame(self, node: str) -> pd.DataFrame:
        """Return one node's invocations as a pandas table, with their durations `us` in microseconds."""
        frame = self.table(node).to_pandas()
        frame["us"] = (frame["end"] - frame["start"]) / 1000
        return frame

    def table(self, node: str) -> pa.Table:
        """Return one node's invocations.

        Raises:
            UnknownName: the trace holds no such node.
        """
        if node not in self.tables:
            raise unknown_name("node", node, self.tables, f"Fix: a node that {self.folder} holds.")
        return self.tables[node]

    @cached_property
    def waves(self) -> dict[int, int]:
        """Number of ticks by wave."""
        ticks: dict[int, int] = {}
        for table in self.tables.values():
            for wave, tick in zip(table["wave"].to_pylist(), table["tick"].to_pylist(), strict=True):
                ticks[wave] = max(ticks.get(wave, 0), tick + 1)
        return dict(sorted(ticks.items()))

    def message(self, node: str, port: str, wave: int, tick: int) -> Tensor:
        """Return a recorded message, (B, …); requires recorded payloads.

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
        data = table[f"{port}.data"][row].as_py()
        if data is None:
            raise TraceError(f"{self.folder} holds no values of {node}.{port} at tick {tick} of wave {wave}. "
                             "Fix: run again with trace.level=full")
        return tensor_of(data, dtype, (table["batch"][row].as_py(), *shape))

    def notes(self, node: str, wave: int) -> dict[int, dict[str, Tensor]]:
        """Return a node's notes, (B, …) by tick and name; requires recorded payloads of the node.

        Raises:
            UnknownName: the trace holds no such node.
        """
        table = self.table(node)
        if NOTES not in table.column_names:
            return {}
        rows = np.flatnonzero(table["wave"].to_numpy() == wave)
        held = table.select(["tick", "batch", NOTES]).take(pa.array(rows)).to_pylist()
        return {row["tick"]: self._noted(node, wave, row) for row in held if row[NOTES]}

    def _noted(self, node: str, wave: int, row: Mapping[str, Any]) -> dict[str, Tensor]:
        import safetensors.torch  # here, as in `tensor_of`: hashes and statistics need no PyTorch

        where = f"{self.folder} holds notes of {node} at wave {wave}, tick {row['tick']} that"
        try:
            figures = safetensors.torch.load(row[NOTES])
        except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:  # KeyError: a dtype of no torch
            raise TraceError(f"{where} are no safetensors ({str(error)[:100]}). Fix: {FILE.fix}") from None
        for name, figure in figures.items():
            if str(figure.dtype).removeprefix("torch.") not in WIDTHS or figure.ndim not in (1, 3) or (
                    figure.shape[0] != row["batch"] or figure.numel() == 0):
                raise TraceError(f"{where} hold {shown(name)} as {figure.dtype} {tuple(figure.shape)}: expected numbers of "
                                 f"{row['batch']} worlds, (B,) or (B, iterations, candidates). Fix: {FILE.fix}")
        return figures

    def _check_extent(self, size: int) -> None:
        """Raise if the tables would be far larger than the files: a few records may name distant ticks.

        Args:
            size: of the records in bytes; a scalar takes 4 bytes per world and tick.
        """
        wave, tick, batch = (np.concatenate([table[name].to_numpy() for table in self.tables.values()])
                             for name in ("wave", "tick", "batch"))
        waves, of = np.unique(wave, return_inverse=True)
        last, most, least = np.zeros(len(waves), np.int64), np.zeros(len(waves), np.int64), np.full(len(waves), 2**62)
        np.maximum.at(last, of, tick)
        np.maximum.at(most, of, batch)
        np.minimum.at(least, of, batch)
        if (least != most).any():
            one = int(np.flatnonzero(least != most)[0])
            raise TraceError(f"{self.folder} holds wave {waves[one]} with {least[one]:,} and {most[one]:,} worlds in column "
                             f"batch: expected one number of worlds per wave. Fix: {FILE.fix}")
        scalars = sum(name.endswith(".rows") for table in self.tables.values() for name in table.column_names)
        cells = float(((last + 1.0) * most).sum()) * (scalars + len(self.tables) + OTHER_COLUMNS)
        if cells > FREE_CELLS + size:
            raise TraceError(f"{self.folder} holds ticks up to {last.max():,} of {most.max():,} worlds, whose tables have "
                             f"{cells:,.0f} cells, in records of {size:,} bytes: expected at most {FREE_CELLS + size:,}. "
                             f"Fix: {FILE.fix}")

    def digest(self) -> str:
        """Return the SHA-256 over (wave, tick, node, port, content hash) of every message, node by node in firing order.

        It depends on the messages and their ticks, not on the recording process, the blocks or the durations.
        """
        digest = hashlib.sha256()
        for node, table in self.tables.items():
            for port in sorted(self.ports[node]):
                digest.update(f"{node}.{port}\0{table.num_rows}\0".encode())
                for name in KEY:
                    digest.update(table[name].to_numpy().astype("<i8").tobytes())
                digest.update(_plain_bytes(table[f"{port}.hash"]))
        return digest.hexdigest()

    def hashes(self, node: str) -> dict[tuple[int, int], dict[str, bytes]]:
        """Return the hashes of a node's messages by (wave, tick) and port; empty if the trace holds no such node."""
        if node not in self.tables:
            return {}
        table, ports = self.tables[node], list(self.ports[node])
        hashes = zip(*(table[f"{port}.hash"].to_pylist() for port in ports), strict=True)
        keys = zip(*(table[name].to_pylist() for name in KEY), strict=True)
        return {key: dict(zip(ports, row, strict=True)) for key, row in zip(keys, hashes, strict=True)}

    def compare(self, other: Trace, until: Mapping[int, int] | None = None) -> Difference | None:
        """Return the first message that differs, in the order of sending; None if the traces are equal.

        Args:
            other: the other trace.
            until: number of ticks to compare by wave; None compares all.
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
    """Return the whole record batches of one file, and whether it ends in the middle of one. Raises as `Stream` does."""
    stream = Stream(path)
    return stream.batches, stream.is_torn


def tensor_of(data: bytes, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """Return a message from its recorded bytes, whose number `Stream` has checked."""
    import torch

    from ami.ports import DTYPES

    kind = DTYPES[dtype]
    return torch.frombuffer(bytearray(data), dtype=kind).reshape(shape) if data else torch.empty(shape, dtype=kind)


def texts_of(data: bytes, batch: int) -> list[str]:
    """Return the texts of a message (B, n) from its recorded bytes; invalid UTF-8 and invisible characters are escaped."""
    length = len(data) // max(batch, 1)
    parts = (data[row * length:(row + 1) * length].rstrip(b"\0") for row in range(batch))
    return [escaped(part.decode(errors="backslashreplace"), keep="") for part in parts]


def trace_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a trace, in the folders of its agents or of their groups of modules."""
    return sorted(path for depth in ("", "*/", "*/*/") for path in (folder / "trace").glob(depth + pattern))


def _faults(folder: Path) -> tuple[str, ...]:
    return tuple(escaped(INCOMPLETE_FILE.read_text(path, folder).strip(), keep="")
                 for path in trace_files(folder, INCOMPLETE))


def _is_finished(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(END_OF_STREAM)))
        return file.read() == END_OF_STREAM


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Return one table, sorted by wave and tick, with the latest record of each invocation."""
    table = pa.concat_tables(tables, promote_options="default")
    wave, tick, start = (table[name].to_numpy() for name in (*KEY, "start"))
    order = np.lexsort((start, tick, wave))
    wave, tick = wave[order], tick[order]
    is_last = np.ones(len(order), bool)
    is_last[:-1] = (wave[1:] != wave[:-1]) | (tick[1:] != tick[:-1])
    if is_last.all() and (np.diff(order) == 1).all():
        return table.combine_chunks()
    return table.take(pa.array(order[is_last])).combine_chunks()


def _within(table: pa.Table, span: Span) -> pa.Array:
    wave, tick = (table[name].to_numpy() for name in KEY)
    return pa.array((wave == span.wave) & (tick >= span.since) & (tick < span.until))


def _plain_bytes(column: pa.ChunkedArray) -> bytes:
    """Return the values of a fixed-size column, one after another."""
    width = column.type.byte_width
    return b"".join(memoryview(chunk.buffers()[1])[chunk.offset * width:(chunk.offset + len(chunk)) * width]
                    for chunk in column.chunks)


def _first_differences(one: Trace, two: Trace, node: str,
                       until: Mapping[int, int] | None) -> Iterator[tuple[int, int, str | None]]:
    """Yield the key of this node's first differing message, if any."""
    hashes = [trace.hashes(node) for trace in (one, two)]
    for key in sorted(set(hashes[0]) | set(hashes[1])):
        if until is not None and key[1] >= until.get(key[0], 0):
            continue
        first, second = hashes[0].get(key), hashes[1].get(key)
        if first != second:
            port = None
            if first is not None and second is not None:
                port = next(p for p in [*first, *second] if first.get(p) != second.get(p))
            yield (*key, port)
            return
