"""The record of truth: a local append-only log of every invocation, written by the process that ran the module.

One Arrow stream per node. The bytes of a message are copied when it is sent, so nothing that happens to it afterwards is
recorded; at most `BLOCK_ROWS` ticks or `BLOCK_SECONDS` later they are hashed, summed up and appended as one whole record
batch. A killed process leaves whole batches, and every reader stops at the last one.

A disk that is full or gone stops the record and never the mind: it is told once on stderr, the folder gets a file INCOMPLETE
that says from when on nothing is recorded, and the mind goes on. A disk that lets a block wait is told once as well.

Columns: wave, tick, batch (how many worlds), start, end (nanoseconds of the monotonic clock) and, per output port p,
`p.hash` (8 bytes of the SHA-256 of the content; content of up to 8 bytes stands for itself, filled up with zeros),
`p.rows` (one value per world) for scalar messages, `p.mean/.std/.min/.max` for other floating-point ones, and `p.data`
(the bytes) when payloads are recorded; where a node's own are, also `notes`: safetensors of the figures that its module put
into `notes`, empty when it put none.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from ctypes import string_at
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import safetensors.torch
import torch
from torch import Tensor

BLOCK_ROWS = 512
BLOCK_SECONDS = 1.0
SLOW_SECONDS = 1.0  # a block that the disk takes so long to take is told
INCOMPLETE = "INCOMPLETE"
HASH_BYTES = 8
STATISTICS = ("mean", "std", "min", "max")
NOTES = "notes"
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
COMMON = [("wave", pa.int32()), ("tick", pa.int32()), ("batch", pa.int32()), ("start", pa.int64()), ("end", pa.int64())]

Row = tuple[int, int, int, int, int, tuple[bytes, ...]]
"""wave, tick, batch, start, end, and each port's content."""


class TraceLog:
    """Writes the invocations of some nodes into a folder, one file per node.

    Args:
        folder: where the files go; made if missing.
        payload: also record the bytes of every message, or of the messages of some ports, "node.port".
    """

    def __init__(self, folder: Path, payload: bool | Collection[str] = False) -> None:
        self.folder, self.payload = Path(folder), payload
        self.folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, _NodeFile] = {}
        self._is_over = self._is_slow = False
        self._notes: dict[str, dict[str, Tensor]] = {}
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor]) -> None:
        """Remember one invocation; write a block when it is due."""
        file = self._files.get(node)
        if file is None:
            file = self._begin(node, wave, tick, outputs)
            if file is None:
                self._notes.get(node, {}).clear()
                return
        # a tuple of bytes is nothing the garbage collector has to look at again; written out, since every tick pays for it
        contents = tuple([string_at(value.data_ptr(), value.nbytes) if value.is_contiguous() and value.is_cpu
                          else _content(value) for value in map(outputs.__getitem__, file.names)])
        file.rows.append((wave, tick, outputs[file.names[0]].shape[0], start, end, contents))
        if file.notes is not None:
            file.notes.append(_taken(self._notes[node]))
        if end > self._due or len(file.rows) >= BLOCK_ROWS:
            self.flush()

    def notes(self, node: str) -> dict[str, Tensor] | None:
        """Where a node may put figures before it is told of; None where no message of it is recorded whole."""
        if isinstance(self.payload, bool):
            is_kept = self.payload
        else:
            is_kept = any(port.split(".")[0] == node for port in self.payload)
        return self._notes.setdefault(node, {}) if is_kept else None

    def flush(self) -> None:
        """Append what is held in memory, as whole record batches."""
        begun = next((file.rows[0][:2] for file in self._files.values() if file.rows), (0, 0))
        try:
            waited = sum([file.flush() for file in self._files.values()])
        except OSError as error:
            self._give_up(error, f"nothing is recorded from wave {begun[0]}, tick {begun[1]} on")
            return
        if waited > SLOW_SECONDS and not self._is_slow:
            self._is_slow = True
            _tell(f"the disk took {waited:.1f} s to take a block of the trace in {self.folder}: ticks wait for it "
                  "that long. Cure: a store on a quicker disk, or trace.record=false")
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)

    def close(self) -> None:
        """Write the rest and put it on the disk."""
        self.flush()
        try:
            for file in self._files.values():
                file.close()
        except OSError as error:
            self._give_up(error, "its last block may be missing")
        self._files.clear()

    def _begin(self, node: str, wave: int, tick: int, outputs: Mapping[str, Tensor]) -> _NodeFile | None:
        if self._is_over:
            return None
        try:
            file = self._files[node] = _NodeFile(self.folder, node, outputs, self.payload, node in self._notes)
        except OSError as error:
            self._give_up(error, f"nothing is recorded from wave {wave}, tick {tick} on")
            return None
        return file

    def _give_up(self, error: OSError, lost: str) -> None:
        """Nothing more is recorded; what was written whole stays."""
        self._is_over = True
        for file in self._files.values():
            file.abandon()
        self._files.clear()
        fault = f"the trace could not be written ({error.strerror or error}): {lost}"
        _tell(f"{self.folder}: {fault}; the mind goes on. Cure: room on this disk, or another store")
        with suppress(OSError):
            (self.folder / INCOMPLETE).write_text(f"{fault}\n")


def _tell(sentence: str) -> None:
    with suppress(OSError, ValueError):  # a terminal that is gone is no reason to stop either
        print(f"ami: {sentence}", file=sys.stderr, flush=True)


class _Port:
    """How the messages of one port are told: its dtype, its shape behind the batch, and which columns follow from them."""

    def __init__(self, like: Tensor) -> None:
        self.dtype, self.shape = like.dtype, list(like.shape[1:])
        self.is_scalar = like.ndim == 1
        self.is_float = like.is_floating_point()

    def fields(self, name: str) -> list[tuple[str, pa.DataType]]:
        columns: list[tuple[str, pa.DataType]] = [(f"{name}.hash", pa.binary(HASH_BYTES))]
        if self.is_scalar:
            columns.append((f"{name}.rows", pa.list_(pa.float32())))
        elif self.is_float:
            columns.extend((f"{name}.{statistic}", pa.float32()) for statistic in STATISTICS)
        return columns

    def columns(self, contents: Sequence[bytes], batch: int) -> list[pa.Array]:
        """What is kept of some messages, in the order of `fields`."""
        arrays = [_hashes(contents)]
        if self.is_scalar:
            offsets = np.arange(0, len(contents) * batch + 1, batch, dtype=np.int32)
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(self._values(contents).reshape(-1))))
        elif self.is_float:
            arrays += _statistics(self._values(contents))
        return arrays

    def _values(self, contents: Sequence[bytes]) -> np.ndarray:
        """The messages as float32, (rows, n)."""
        joined = bytearray().join(contents)
        if not joined:
            return np.zeros((len(contents), 0), np.float32)
        values: np.ndarray = torch.frombuffer(joined, dtype=self.dtype).float().numpy()
        return values.reshape(len(contents), -1)


class _NodeFile:
    """One node's Arrow stream, and the rows that wait to be written there."""

    def __init__(self, folder: Path, node: str, outputs: Mapping[str, Tensor], payload: bool | Collection[str],
                 takes_notes: bool = False) -> None:
        self.rows: list[Row] = []
        self.notes: list[bytes] | None = [] if takes_notes else None
        self._ports = {name: _Port(value) for name, value in outputs.items()}
        self._kept = {name for name in outputs if payload is True or (payload and f"{node}.{name}" in payload)}
        self.names = tuple(self._ports)
        fields = list(COMMON)
        for name, port in self._ports.items():
            fields += port.fields(name) + ([(f"{name}.data", pa.binary())] if name in self._kept else [])
        fields += [(NOTES, pa.binary())] if takes_notes else []
        told = {name: (str(port.dtype).removeprefix("torch."), port.shape) for name, port in self._ports.items()}
        self._schema = pa.schema(fields, metadata={"node": node, "ports": json.dumps(told)})
        number = len(list(folder.glob(f"{node}.*.arrow")))
        self._file = (folder / f"{node}.{number}.arrow").open("xb")
        self._whole = 0
        try:
            self._write(self._schema.serialize())
        except OSError:
            self.abandon()
            raise

    def flush(self) -> float:
        """Append the rows; another number of worlds gets a block of its own. Returns how many seconds the disk took."""
        waited = 0.0
        for batch, rows in groupby(self.rows, key=lambda row: row[2]):
            waited += self._append(list(rows), batch)
        self.rows.clear()
        return waited

    def close(self) -> None:
        """End the stream and put it on the disk."""
        self._write(END_OF_STREAM)
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Close the file after its last whole batch."""
        with suppress(OSError):  # it tries once more to write what it could not
            self._file.close()
        with suppress(OSError):
            if self._whole:
                os.truncate(self._file.name, self._whole)
            else:
                Path(self._file.name).unlink()

    def _append(self, rows: list[Row], batch: int) -> float:
        wave, tick, batches, start, end, contents = zip(*rows, strict=True)
        arrays = [pa.array(np.array(column, np.int32)) for column in (wave, tick, batches)]
        arrays += [pa.array(np.array(column, np.int64)) for column in (start, end)]
        for (name, port), column in zip(self._ports.items(), zip(*contents, strict=True), strict=True):
            arrays += port.columns(column, batch)
            if name in self._kept:
                arrays.append(pa.array(column, pa.binary()))
        if self.notes is not None:
            arrays.append(pa.array(self.notes[:len(rows)], pa.binary()))
            del self.notes[:len(rows)]
        # one whole message of the Arrow stream, in one write
        return self._write(pa.RecordBatch.from_arrays(arrays, schema=self._schema).serialize())

    def _write(self, message: pa.Buffer | bytes) -> float:
        begun = time.perf_counter()
        self._file.write(message)
        self._file.flush()
        self._whole = self._file.tell()
        return time.perf_counter() - begun


def _content(value: Tensor) -> bytes:
    """A copy of what a tensor holds; by way of numpy it would take twice as long."""
    value = value.detach().cpu().contiguous()
    return string_at(value.data_ptr(), value.nbytes)


def _taken(notes: dict[str, Tensor]) -> bytes:
    """What a step noted, which the next step may note anew."""
    whole = {name: value.detach().cpu().contiguous() for name, value in notes.items()}
    notes.clear()
    return safetensors.torch.save(whole) if whole else b""


def _hashes(contents: Sequence[bytes]) -> pa.Array:
    """8 bytes per message."""
    if len(contents[0]) <= HASH_BYTES:  # most scalars of a single world: hashing them would cost more than all the rest
        hashes = b"".join([content.ljust(HASH_BYTES, b"\0") for content in contents])
    else:
        hashes = b"".join(_digests(contents))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(contents), [None, pa.py_buffer(hashes)])


def _digests(contents: Sequence[bytes]) -> Iterator[bytes]:
    """The beginning of each SHA-256. Goals say the same for a whole episode: comparing is much quicker than hashing."""
    last, digest = None, b""
    for content in contents:
        if content != last:
            last, digest = content, hashlib.sha256(content).digest()[:HASH_BYTES]
        yield digest


def _statistics(values: np.ndarray) -> list[pa.Array]:
    """Mean, standard deviation, minimum and maximum of each row of values (rows, n)."""
    if not values.shape[1]:
        return [pa.nulls(len(values), pa.float32())] * len(STATISTICS)
    with np.errstate(all="ignore"):  # a model that has diverged says so in its figures, not by stopping the trace
        return [pa.array(getattr(values, name)(axis=1)) for name in STATISTICS]
