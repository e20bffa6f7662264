"""The record of truth: a local append-only log of every invocation, written by the process that ran the module.

One Arrow stream per node. Rows are held in memory for at most `BLOCK_ROWS` ticks or `BLOCK_SECONDS`, then hashed,
summed up and appended as one whole record batch: a killed process leaves whole batches, and every reader stops at the
last one. Hashing and statistics happen per block, off the tick; the price is that a module may not change a message it
has sent.

Columns: wave, tick, batch (how many worlds), start, end (nanoseconds of the monotonic clock) and, per output port p,
`p.hash` (8 bytes of the SHA-256 of the content; content of up to 8 bytes stands for itself, filled up with zeros),
`p.rows` (one value per world) for scalar messages, `p.mean/.std/.min/.max` for other floating-point ones, and `p.data`
(the bytes) when payloads are recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

BLOCK_ROWS = 512
BLOCK_SECONDS = 1.0
HASH_BYTES = 8
STATISTICS = ("mean", "std", "min", "max")
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
COMMON = [("wave", pa.int32()), ("tick", pa.int32()), ("batch", pa.int32()), ("start", pa.int64()), ("end", pa.int64())]

Row = tuple[int, int, int, int, Mapping[str, Tensor]]
"""wave, tick, start, end, outputs"""


class TraceLog:
    """Writes the invocations of some nodes into a folder, one file per node.

    Args:
        folder: where the files go; made if missing.
        payload: also record the bytes of every message.
    """

    def __init__(self, folder: Path, payload: bool = False) -> None:
        self.folder, self.payload = Path(folder), payload
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, list[Row]] = {}
        self._files: dict[str, _NodeFile] = {}
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor]) -> None:
        """Remember one invocation; write a block when it is due."""
        rows = self._rows.get(node)
        if rows is None:
            rows = self._rows[node] = []
        rows.append((wave, tick, start, end, outputs))
        if len(rows) >= BLOCK_ROWS or end > self._due:
            self.flush()

    def flush(self) -> None:
        """Append what is held in memory, as whole record batches."""
        for node, rows in self._rows.items():
            if rows:
                if node not in self._files:
                    self._files[node] = _NodeFile(self.folder, node, rows[0][4], self.payload)
                # with another number of worlds come other shapes: they get a block of their own
                for block in _equal_batches(rows):
                    self._files[node].append(block)
                rows.clear()
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)

    def close(self) -> None:
        """Write the rest and put it on the disk."""
        self.flush()
        for file in self._files.values():
            file.close()
        self._files.clear()


class _NodeFile:
    """One node's Arrow stream."""

    def __init__(self, folder: Path, node: str, outputs: Mapping[str, Tensor], payload: bool) -> None:
        self.payload = payload
        self.ports = {port: (str(v.dtype).removeprefix("torch."), list(v.shape[1:])) for port, v in outputs.items()}
        fields = list(COMMON)
        for port, value in outputs.items():
            fields.append((f"{port}.hash", pa.binary(HASH_BYTES)))
            if value.ndim == 1:
                fields.append((f"{port}.rows", pa.list_(pa.float32())))
            elif value.is_floating_point():
                fields.extend((f"{port}.{name}", pa.float32()) for name in STATISTICS)
            if payload:
                fields.append((f"{port}.data", pa.binary()))
        self.schema = pa.schema(fields, metadata={"node": node, "ports": json.dumps(self.ports)})
        number = len(list(folder.glob(f"{node}.*.arrow")))
        self._file = (folder / f"{node}.{number}.arrow").open("xb")
        self._write(self.schema.serialize())

    def append(self, rows: list[Row]) -> None:
        """Append one block; all its rows are of equally many worlds."""
        wave, tick, start, end, outputs = zip(*rows, strict=True)
        batch = len(next(iter(outputs[0].values())))
        arrays = [pa.array(np.array(wave, np.int32)), pa.array(np.array(tick, np.int32)),
                  pa.array(np.full(len(rows), batch, np.int32)), pa.array(np.array(start)), pa.array(np.array(end))]
        for port in self.ports:
            arrays += self._columns(torch.stack([o[port] for o in outputs]).detach().cpu())
        # one whole message of the Arrow stream, in one write
        self._write(pa.RecordBatch.from_arrays(arrays, schema=self.schema).serialize())

    def close(self) -> None:
        self._write(END_OF_STREAM)
        os.fsync(self._file.fileno())
        self._file.close()

    def _write(self, message: pa.Buffer | bytes) -> None:
        self._file.write(message)
        self._file.flush()

    def _columns(self, messages: Tensor) -> list[pa.Array]:
        """What is kept of the messages of one port, (rows, B, …), in the schema's order."""
        flat = messages.flatten(1).contiguous()
        content = flat.view(torch.uint8).numpy()
        columns = [_hashes(content)]
        if messages.ndim == 2:
            rows, batch = flat.shape
            offsets = np.arange(0, rows * batch + 1, batch, dtype=np.int32)
            columns.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.float().flatten().numpy())))
        elif flat.is_floating_point():
            columns += _statistics(flat.float().numpy())
        if self.payload:
            columns.append(pa.array([row.tobytes() for row in content], pa.binary()))
        return columns


def _hashes(content: np.ndarray) -> pa.Array:
    """8 bytes per row of content (rows, bytes)."""
    rows, width = content.shape
    if width <= HASH_BYTES:  # most scalars of a single world: hashing them would cost more than all the rest
        kept = np.zeros((rows, HASH_BYTES), np.uint8)
        kept[:, :width] = content
        hashes = kept.tobytes()
    else:
        sha256 = hashlib.sha256
        hashes = b"".join([sha256(row).digest()[:HASH_BYTES] for row in content])
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), rows, [None, pa.py_buffer(hashes)])


def _statistics(values: np.ndarray) -> list[pa.Array]:
    """Mean, standard deviation, minimum and maximum of each row of values (rows, n)."""
    if not values.shape[1]:
        return [pa.nulls(len(values), pa.float32())] * len(STATISTICS)
    with np.errstate(all="ignore"):  # a model that has diverged says so in its figures, not by stopping the trace
        return [pa.array(getattr(values, name)(axis=1)) for name in STATISTICS]


def _equal_batches(rows: list[Row]) -> list[list[Row]]:
    """Cut the rows where the number of worlds changes, which can only be where ticks begin anew."""
    ticks = np.array([row[1] for row in rows])
    starts = [0, *(np.flatnonzero(np.diff(ticks) <= 0) + 1).tolist(), len(rows)]
    blocks: list[list[Row]] = []
    size = -1
    for first, last in pairwise(starts):
        batch = len(next(iter(rows[first][4].values())))
        if batch != size:
            blocks.append([])
            size = batch
        blocks[-1].extend(rows[first:last])
    return blocks
