"""One node's file in the log: an Arrow stream, one record batch per block of invocations.

Columns: wave, tick, batch (number of worlds), start, end (nanoseconds of the monotonic clock), `version` (of the published
weights, 0 for none; traces of earlier versions of ami lack it), `age` (per input the ticks
since its message was sent, -1 for a wire's initial value; traces of earlier versions have none) and, per output port p,
`p.hash` (8 bytes of the SHA-256 of the content; content of up to 8 bytes is stored itself, padded with zeros),
`p.rows` (one value per world) for scalar messages, `p.mean/.std/.min/.max` for other floating-point ones, and `p.data`
(the bytes) if payloads are recorded. Nodes with recorded payloads also have `notes`: safetensors of the figures that the
module put into `notes`, empty without any.

Each record batch names its first and last wave and tick in its metadata, so that a reader finds a tick without reading the
whole file. Record batches are compressed with lz4, except small ones, which would grow. Measured on the default agent's full
trace: lz4 takes 12 µs of the writer's time per tick and leaves 25 % of the bytes; zstd takes 91 µs and leaves 21 %.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ami.dtypes import WIDTHS, is_float, values_in
from ami.errors import PortError
from ami.storage.lock import locked

if TYPE_CHECKING:
    from torch import Tensor

HASH_BYTES = 8
STATISTICS = ("mean", "std", "min", "max")
NOTES = "notes"
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
TICKS = "ticks={} {} to {} {}"  # in a record batch's metadata: its first wave and tick, and its last
COMPRESSION = "lz4"
LEAST_COMPRESSED = 16_384  # bytes of a record batch
COMMON = [("wave", pa.int32()), ("tick", pa.int32()), ("batch", pa.int32()), ("start", pa.int64()), ("end", pa.int64())]

VERSION = "version"
AGE = "age"
INITIAL = -1

Row = tuple[int, int, int, int, int, Sequence[int], tuple[bytes, ...], bytes]
"""One invocation: wave, tick, batch, start, end, the age of each input, each port's bytes, and the notes."""


class NodeFile:
    """One node's Arrow stream; the file is created with its first block.

    Args:
        folder: the log's folder.
        node: the node's name.
        outputs: example messages, for dtypes and shapes.
        num_inputs: number of the node's uncut wires; 0 records no ages.
        payload: record the bytes of every port, or of some ports, "node.port".
        takes_notes: record the node's notes.
    """

    def __init__(self, folder: Path, node: str, outputs: Mapping[str, Tensor], num_inputs: int = 0,
                 payload: bool | Collection[str] = False, takes_notes: bool = False) -> None:
        self._folder, self._node, self._num_inputs, self._takes_notes = folder, node, num_inputs, takes_notes
        self._ports = {name: _Port(f"{node}.{name}", value) for name, value in outputs.items()}
        self._kept = {name for name in outputs if payload is True or (payload and f"{node}.{name}" in payload)}
        fields = list(COMMON)
        fields.append((VERSION, pa.int64()))
        fields += [(AGE, pa.list_(pa.int32(), num_inputs))] if num_inputs else []
        for name, port in self._ports.items():
            fields += port_columns(name, port.dtype, port.shape)
            fields += [(f"{name}.data", pa.binary())] if name in self._kept else []
        fields += [(NOTES, pa.binary())] if takes_notes else []
        ports = {name: (port.dtype, port.shape) for name, port in self._ports.items()}
        self._schema = pa.schema(fields, metadata={"node": node, "ports": json.dumps(ports)})
        self._file: IO[bytes] | None = None
        self._whole = 0

    def write(self, rows: Sequence[Row], version: int = 0) -> float:
        """Append rows as whole record batches; a change of the batch size begins a new one.

        Args:
            rows: the invocations.
            version: the version of the weights that they ran with.

        Returns:
            Seconds that the disk took.

        Raises:
            OSError: writing failed; `abandon` keeps the whole record batches.
        """
        return sum(self._append(list(some), batch, version) for batch, some in groupby(rows, key=lambda row: row[2]))

    def close(self) -> None:
        """End the stream and sync it to disk."""
        if self._file is not None:
            self._send(END_OF_STREAM)
            os.fsync(self._file.fileno())
            self._file.close()

    def abandon(self) -> None:
        """Close the file and truncate it after its last whole record batch; delete it if there is none."""
        if self._file is None:
            return
        with suppress(OSError):  # closing retries the failed write
            self._file.close()
        with suppress(OSError):
            if self._whole:
                os.truncate(self._file.name, self._whole)
            else:
                Path(self._file.name).unlink()

    def _append(self, rows: list[Row], batch: int, version: int) -> float:
        wave, tick, batches, start, end, ages, contents, notes = zip(*rows, strict=True)
        arrays = [pa.array(np.array(column, np.int32)) for column in (wave, tick, batches)]
        arrays += [pa.array(np.array(column, np.int64)) for column in (start, end)]
        arrays.append(pa.array(np.full(len(rows), version, np.int64)))
        if self._num_inputs:
            # constant delays give constant columns, which compress well
            flat = pa.array(np.array(ages, np.int32).reshape(-1))
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, self._num_inputs))
        for (name, port), column in zip(self._ports.items(), zip(*contents, strict=True), strict=True):
            arrays += port.columns(column, batch)
            if name in self._kept:
                arrays.append(pa.array(column, pa.binary()))
        if self._takes_notes:
            arrays.append(pa.array(notes, pa.binary()))
        # one whole message of the Arrow stream, in one write
        return self._send(serialized(pa.RecordBatch.from_arrays(arrays, schema=self._schema)))

    def _send(self, message: memoryview | bytes) -> float:
        begun = time.perf_counter()
        if self._file is None:
            number = len(list(self._folder.glob(f"{self._node}.*.arrow")))
            self._file = (self._folder / f"{self._node}.{number}.arrow").open("xb")
            locked(self._file.fileno())  # until it is closed: a resumed run waits for its writer's end
            self._file.write(self._schema.serialize())
        self._file.write(message)
        self._file.flush()
        self._whole = self._file.tell()
        return time.perf_counter() - begun


def serialized(batch: pa.RecordBatch) -> memoryview:
    """Return a record batch as one message of an Arrow stream."""
    keys = batch["wave"].to_numpy().astype(np.int64) << 32 | batch["tick"].to_numpy()
    ticks = TICKS.format(*(part for key in (int(keys.min()), int(keys.max())) for part in (key >> 32, key & 0xFFFFFFFF)))
    compression = COMPRESSION if batch.nbytes >= LEAST_COMPRESSED else None
    options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
    whole = io.BytesIO()
    with pa.ipc.new_stream(whole, batch.schema, options=options) as stream:
        stream.write_batch(batch, custom_metadata={"ami": ticks})
    return whole.getbuffer()[batch.schema.serialize().size:-len(END_OF_STREAM)]


def port_columns(name: str, dtype: str, shape: Sequence[int]) -> list[tuple[str, pa.DataType]]:
    """Return the columns of a port except its bytes, given its dtype and its shape after the batch."""
    columns: list[tuple[str, pa.DataType]] = [(f"{name}.hash", pa.binary(HASH_BYTES))]
    if not len(shape):
        columns.append((f"{name}.rows", pa.list_(pa.float32())))
    elif is_float(dtype):
        columns.extend((f"{name}.{statistic}", pa.float32()) for statistic in STATISTICS)
    return columns


class _Port:
    """Columns of one port, from its dtype and its shape after the batch."""

    def __init__(self, name: str, like: Tensor) -> None:
        self.dtype, self.shape = str(like.dtype).removeprefix("torch."), list(like.shape[1:])
        if self.dtype not in WIDTHS:
            raise PortError(f"{name} sent {self.dtype}: a trace records {', '.join(WIDTHS)}. Fix: cast it in step(), or "
                            "trace.record=false")
        self.is_scalar = like.ndim == 1
        self.is_float = like.is_floating_point()

    def columns(self, contents: Sequence[bytes], batch: int) -> list[pa.Array]:
        """Return the columns of some messages, in the order of `port_columns`."""
        arrays = [hashes(contents)]
        if self.is_scalar:
            offsets = np.arange(0, len(contents) * batch + 1, batch, dtype=np.int32)
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(self._values(contents).reshape(-1))))
        elif self.is_float:
            arrays += _statistics(self._values(contents))
        return arrays

    def _values(self, contents: Sequence[bytes]) -> np.ndarray:
        """Return the messages as float32, (rows, n)."""
        joined = bytearray().join(contents)
        if not joined:
            return np.zeros((len(contents), 0), np.float32)
        return values_in(joined, self.dtype, np.float32).reshape(len(contents), -1)


def hashes(contents: Sequence[bytes]) -> pa.Array:
    """Return 8 bytes per message."""
    if len(contents[0]) <= HASH_BYTES:  # most scalars of a single world: hashing them would cost more than everything else
        joined = b"".join([content.ljust(HASH_BYTES, b"\0") for content in contents])
    else:
        joined = b"".join(_digests(contents))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(contents), [None, pa.py_buffer(joined)])


def _digests(contents: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the beginning of each SHA-256. A goal repeats for a whole episode, and comparing is much faster than hashing."""
    last, digest = None, b""
    for content in contents:
        if content != last:
            last, digest = content, hashlib.sha256(content).digest()[:HASH_BYTES]
        yield digest


def _statistics(values: np.ndarray) -> list[pa.Array]:
    """Return mean, standard deviation, minimum and maximum of each row of values (rows, n)."""
    if not values.shape[1]:
        return [pa.nulls(len(values), pa.float32())] * len(STATISTICS)
    with np.errstate(all="ignore"):  # a diverged model shows in its statistics and must not stop the trace
        return [pa.array(getattr(values, name)(axis=1)) for name in STATISTICS]
