"""The record of truth: a local append-only log of every invocation, written by the process that ran the module.

One Arrow stream per node. Rows are held in memory for at most `BLOCK_ROWS` ticks or `BLOCK_SECONDS`, then hashed, summed
up and appended as one whole record batch: a killed process leaves whole batches, and every reader stops at the last one.
Hashing and statistics happen per block, off the tick; the price is that a module may not change a message it has sent.

Columns: wave, tick, start, end (nanoseconds of the monotonic clock) and, per output port p, `p.hash` (8 bytes of the
SHA-256 of the content), `p.mean/.std/.min/.max` for floating-point messages, `p.rows` (one value per world) for scalar
ones, and `p.data` (the bytes) when payloads are recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

BLOCK_ROWS = 256
BLOCK_SECONDS = 0.5
HASH_BYTES = 8
STATISTICS = ("mean", "std", "min", "max")


class TraceLog:
    """Writes the invocations of some nodes into a folder, one file per node.

    Args:
        folder: where the files go; made if missing.
        payload: also record the bytes of every message.
    """

    def __init__(self, folder: Path, payload: bool = False) -> None:
        self.folder, self.payload = Path(folder), payload
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, list[tuple[int, int, int, int, Mapping[str, Tensor]]]] = {}
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
                # a batch of another size has other shapes: it gets a block of its own
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
        fields = [("wave", pa.int32()), ("tick", pa.int32()), ("batch", pa.int32()),
                  ("start", pa.int64()), ("end", pa.int64())]
        for port, value in outputs.items():
            fields.append((f"{port}.hash", pa.binary(HASH_BYTES)))
            if value.is_floating_point():
                fields.extend((f"{port}.{name}", pa.float32()) for name in STATISTICS)
            if value.ndim == 1:
                fields.append((f"{port}.rows", pa.list_(pa.float32())))
            if payload:
                fields.append((f"{port}.data", pa.binary()))
        self.schema = pa.schema(fields, metadata={"node": node, "ports": json.dumps(self.ports)})
        number = len(list(folder.glob(f"{node}.*.arrow")))
        self._file = open(folder / f"{node}.{number}.arrow", "xb")
        self._stream = pa.ipc.new_stream(self._file, self.schema)
        self._file.flush()

    def append(self, rows: list[tuple[int, int, int, int, Mapping[str, Tensor]]]) -> None:
        wave, tick, start, end, outputs = zip(*rows, strict=True)
        batch = len(next(iter(outputs[0].values())))
        columns: dict[str, Any] = {
            "wave": np.array(wave, np.int32), "tick": np.array(tick, np.int32),
            "batch": np.full(len(rows), batch, np.int32), "start": np.array(start), "end": np.array(end),
        }
        for port in self.ports:
            columns |= self._summary(port, torch.stack([o[port].detach().cpu() for o in outputs]))
        arrays = [pa.array(columns[field.name], type=field.type) for field in self.schema]
        self._stream.write_batch(pa.record_batch(arrays, schema=self.schema))
        self._file.flush()

    def _summary(self, port: str, stacked: Tensor) -> dict[str, Any]:
        count = len(stacked)
        values = stacked.contiguous().numpy()
        view = memoryview(values.reshape(-1)).cast("B")
        width = values.nbytes // count
        pieces = [view[i * width:(i + 1) * width] for i in range(count)]
        columns: dict[str, Any] = {f"{port}.hash": [hashlib.sha256(piece).digest()[:HASH_BYTES] for piece in pieces]}
        if stacked.is_floating_point():
            flat = values.reshape(count, -1)
            columns |= {f"{port}.{name}": getattr(flat, name)(axis=1) for name in STATISTICS}
        if stacked.ndim == 2 and not self.ports[port][1]:
            columns[f"{port}.rows"] = list(values.astype(np.float32))
        if self.payload:
            columns[f"{port}.data"] = [piece.tobytes() for piece in pieces]
        return columns

    def close(self) -> None:
        self._stream.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _equal_batches(rows: list[Any]) -> list[list[Any]]:
    blocks: list[list[Any]] = []
    size = -1
    for row in rows:
        batch = len(next(iter(row[4].values())))
        if batch != size:
            blocks.append([])
            size = batch
        blocks[-1].append(row)
    return blocks
