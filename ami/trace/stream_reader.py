"""Reader of one node's Arrow stream from an untrusted source; `ami.trace.node_file` defines the format.

Arrow trusts what a message declares: it allocates a body of any declared size, expands compressed buffers to any size, and
follows offsets. This reader therefore checks every message's head against the bytes of the file and the sum of the declared
sizes against the memory, then the columns against the ports that the file describes, and the rows against each other. A
killed process may leave its file cut off at any byte: whole messages are returned. Arrow's format:
https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ami.dtypes import WIDTHS
from ami.errors import TraceError
from ami.storage.files import FileKind, parse_json
from ami.storage.limits import memory
from ami.storage.schema import AtMost, Count, Like, Mismatch, Name, check, shown
from ami.trace.node_file import AGE, COMMON, INITIAL, NOTES, TICKS, VERSION, port_columns

CONTINUES = b"\xff\xff\xff\xff"
SCHEMA_MESSAGE, BATCH_MESSAGE = 1, 3
LZ4, CODECS = 0, ("lz4", "zstd")
LARGEST = 2**40  # values of one message
MOST_INPUTS = 1000
LATEST = 2**62  # nanoseconds
LARGEST_FILE = 2**50
_TICKS = re.compile(TICKS.format(*[r"(\d{1,10})"] * 4).encode())
FILE = FileKind("a trace file", TraceError, "copy the run again from where it was made, or run again")

Ports = Mapping[str, tuple[str, tuple[int, ...]]]
"""By port, its dtype and its shape after the batch."""


Dtype = Annotated[str, Like("|".join(WIDTHS), f"one of {', '.join(WIDTHS)}")]


class Span(NamedTuple):
    """Some ticks of one wave: [since, until)."""

    wave: int
    since: int
    until: int

    def overlaps(self, first: tuple[int, int], last: tuple[int, int]) -> bool:
        """Return whether it has a tick between two (wave, tick), both included."""
        return first < (self.wave, self.until) and last >= (self.wave, self.since)


class Described(TypedDict):
    """Schema metadata of a node."""

    node: Name
    ports: Annotated[dict[Name, tuple[Dtype, Annotated[list[Count], AtMost(8)]]], AtMost(1000)]


class Stream:
    """The whole record batches of one file.

    Attributes:
        node: the node's name.
        ports: its outputs.
        batches: in the order of writing.
        is_torn: whether the file ends in the middle of a message.
        is_finished: whether the file has its end mark.
        whole: the bytes up to the end of its last whole message.
        schema: the columns; None in a file that was cut off before them.
        waves: the first and the last recorded wave of each record batch that names them.
    """

    _room = 0  # bytes to which compressed buffers may still expand

    def __init__(self, path: Path, within: Path | None = None, span: Span | None = None) -> None:
        """Read a file.

        Args:
            path: the file.
            within: the folder that holds it.
            span: read only record batches that may hold some of these ticks; of the others only the heads are read.

        Raises:
            TraceError: it is not a log's file; names the file, the place, what was found and what was expected.
        """
        self.node, self.ports, self.batches, self.is_torn = "", dict[str, tuple[str, tuple[int, ...]]](), list[Any](), False
        self.schema: pa.Schema | None = None
        self.is_finished, self.whole = False, 0
        self.waves: list[tuple[int, int]] = []
        self._room = int(memory() / 2)
        limit = self._room if span is None else LARGEST_FILE
        with replace(FILE, limit=limit).open(path, within) as file:
            whole = span is None and memoryview(file.read(os.fstat(file.fileno()).st_size))
            self._checked(path, whole or _Pieces(file), span)

    def _checked(self, path: Path, content: memoryview | _Pieces, span: Span | None) -> None:
        try:
            self._read(content, span)
        except (struct.error, IndexError, OverflowError):
            raise FILE.refusal(path, "its messages have damaged heads") from None
        except (pa.ArrowException, OSError, UnicodeDecodeError, Mismatch) as fault:
            raise FILE.refusal(path, " ".join(str(fault).split())[:200]) from None

    def _read(self, content: memoryview | _Pieces, span: Span | None) -> None:
        for place, head, root, end in self._messages(content):
            if span is not None and self.schema is not None and (named := _TICKS.search(head)):
                first, last = ((int(named[at]), int(named[at + 1])) for at in (1, 3))
                self.waves.append((first[0], last[0]))
                if not span.overlaps(first, last):
                    continue
            kind, header = root.message()
            if kind != (SCHEMA_MESSAGE if self.schema is None else BATCH_MESSAGE):
                raise Mismatch(f"the message at byte {place:,} is of type {kind}: expected a schema, then record batches")
            if self.schema is None:
                self.schema = pa.ipc.read_schema(pa.py_buffer(content[place:end]))
                self._describe(self.schema)
                continue
            whole = content[place:end]
            self._check_expanded(place, header, memoryview(whole)[8 + len(head):])
            batch = pa.ipc.read_record_batch(pa.py_buffer(whole), self.schema)
            batch.validate(full=True)
            check_rows(batch, self.ports)
            self.batches.append(batch)

    def _check_expanded(self, place: int, header: _Table, body: memoryview) -> None:
        """Raise if the compressed buffers of a record batch declare more bytes than the memory has."""
        compression = header.child(3)
        if compression is None:
            return
        codec = compression.byte(0)
        if codec != LZ4:
            raise Mismatch(f"the record batch at byte {place:,} is compressed with "
                           f"{CODECS[codec] if codec < len(CODECS) else codec}: expected lz4 or plain buffers")
        for begin, size in header.pairs(2):
            if not size:
                continue
            if begin < 0 or size < 8 or begin + size > len(body):
                raise Mismatch(f"the record batch at byte {place:,} declares a buffer of {size:,} bytes at {begin:,}: "
                               f"expected one in its {len(body):,} bytes")
            self._room -= max(0, struct.unpack_from("<q", body, begin)[0])  # -1: not compressed
        if self._room < 0:
            raise Mismatch(f"its record batches expand to more than {memory() / 2:,.0f} bytes at byte {place:,}: expected "
                           "less than half of the memory")

    def _messages(self, content: memoryview | _Pieces) -> Iterator[tuple[int, memoryview, _Table, int]]:
        """Yield the place, the head as bytes and as a table, and the end of every whole message."""
        place = 0
        while True:
            begin = content[place:place + 8]
            if len(begin) < 8 or not (any(begin) or bytes(content[place:]).strip(b"\0")):  # zeros: a power failure
                self.is_torn = len(begin) > 0 or place == 0
                return
            if begin[:4] != CONTINUES:
                raise Mismatch(f"byte {place:,} begins no Arrow message: expected FF FF FF FF")
            size = struct.unpack("<i", begin[4:])[0]
            if size == 0:
                if len(content) > place + 8:
                    raise Mismatch(f"{len(content) - place - 8:,} bytes follow its end: expected none")
                self.is_finished = True
                return
            if size < 0:
                raise Mismatch(f"the message at byte {place:,} has a head of {size:,} bytes: expected 1 or more")
            head = memoryview(content[place + 8:place + 8 + size])
            if len(head) < size:
                self.is_torn = True
                return
            root = _Table.root(head)
            end = place + 8 + size + root.body
            if end > len(content):
                self.is_torn = True
                return
            yield place, head, root, end
            place = self.whole = end

    def _describe(self, schema: pa.Schema) -> None:
        """Check the columns against the ports in the metadata."""
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        described = {**metadata, "ports": parse_json(metadata.get("ports", "null"))}
        check(described, Described, "metadata")
        self.node = described["node"]
        self.ports = {port: (dtype, tuple(shape)) for port, (dtype, shape) in described["ports"].items()}
        names = set(schema.names)
        expected = [*COMMON, *[(VERSION, pa.int64())] * (VERSION in names)]
        if AGE in names:
            kind = schema.field(AGE).type
            if not pa.types.is_fixed_size_list(kind) or not 0 < kind.list_size <= MOST_INPUTS:
                raise Mismatch(f"column '{AGE}' is {str(kind)[:80]}: expected a list of 1 to {MOST_INPUTS} int32")
            expected.append((AGE, pa.list_(pa.int32(), kind.list_size)))
        for port, (dtype, shape) in self.ports.items():
            if prod(max(size, 1) for size in shape) > LARGEST:
                raise Mismatch(f"metadata.ports.{port} has the shape {shape}: expected at most {LARGEST:,} values")
            expected += port_columns(port, dtype, shape) + [(f"{port}.data", pa.binary())] * (f"{port}.data" in names)
        expected += [(NOTES, pa.binary())] * (NOTES in names)
        given = list(zip(schema.names, schema.types, strict=True))
        for column, (name, kind) in enumerate(expected):
            if column >= len(given) or given[column] != (name, kind):
                there = f"{shown(given[column][0])} of {given[column][1]}" if column < len(given) else "missing"
                raise Mismatch(f"column {column} is {there[:80]}: expected '{name}' of {kind}")
        if len(given) > len(expected):
            raise Mismatch(f"column {len(expected)} is {shown(given[len(expected)][0])}: expected {len(expected)} columns")


class _Pieces:
    """A file whose bytes are read where they are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._handle = file.fileno()
        self._size = os.fstat(self._handle).st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        begin, end, _ = part.indices(self._size)
        return os.pread(self._handle, max(0, end - begin), begin)


class _Table:
    """A flatbuffer table, with numbered fields. https://flatbuffers.dev/internals"""

    def __init__(self, content: memoryview, place: int) -> None:
        self.content, self.place = content, place
        self._fields = place - self._int("<i", place)

    @classmethod
    def root(cls, content: memoryview) -> _Table:
        return cls(content, struct.unpack_from("<I", content, 0)[0])

    def field(self, number: int) -> int | None:
        """Return the place of a field; None if it is absent."""
        if 4 + 2 * number >= self._int("<H", self._fields):
            return None
        offset = self._int("<H", self._fields + 4 + 2 * number)
        return self.place + offset if offset else None

    def child(self, number: int) -> _Table | None:
        """Return the table in a field; None if it is absent."""
        place = self.field(number)
        return None if place is None else _Table(self.content, place + self._int("<I", place))

    def byte(self, number: int) -> int:
        """Return a byte; 0, the default, if it is absent."""
        place = self.field(number)
        return 0 if place is None else self._int("<B", place)

    def pairs(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield the pairs of 64-bit numbers in a vector of structs."""
        place = self.field(number)
        if place is not None:
            place += self._int("<I", place)
            for index in range(self._int("<I", place)):
                yield struct.unpack_from("<qq", self.content, place + 4 + 16 * index)

    @property
    def body(self) -> int:
        """Number of bytes after the head of a message."""
        place = self.field(3)
        size = 0 if place is None else self._int("<q", place)
        if size < 0:
            raise Mismatch(f"a message declares a body of {size:,} bytes: expected 0 or more")
        return size

    def message(self) -> tuple[int, _Table]:
        """Return the type of a message, and its header."""
        kind, header = self.field(1), self.field(2)
        if kind is None or header is None:
            raise Mismatch("a message declares no type: expected a schema, then record batches")
        return self._int("<B", kind), _Table(self.content, header + self._int("<I", header))

    def _int(self, kind: str, place: int) -> int:
        if place < 0:
            raise IndexError(place)
        return int(struct.unpack_from(kind, self.content, place)[0])


def check_rows(batch: pa.RecordBatch, ports: Ports) -> None:
    """Check that the rows of a batch are consistent.

    Raises:
        Mismatch: names the column.
    """
    for name in (*(name for name, _ in COMMON), *(name for name in batch.schema.names if name.endswith((".hash", ".rows")))):
        if batch[name].null_count:
            raise Mismatch(f"column {name} holds null: expected a value in every row")
    worlds, start, end = (batch[name].to_numpy() for name in ("batch", "start", "end"))
    for name, least in (("wave", 0), ("tick", 0), ("batch", 1), ("start", 0)):
        values = batch[name].to_numpy()
        if len(values) and values.min() < least:
            raise Mismatch(f"column {name} holds {values.min()}: expected {least} or more")
    if len(end) and (end.max() > LATEST or (end < start).any()):
        raise Mismatch("column end holds a time before its start or out of range")
    if VERSION in batch.schema.names and (batch[VERSION].null_count or (batch[VERSION].to_numpy() < 0).any()):
        raise Mismatch(f"column {VERSION} holds null or a negative number: expected a version in every row")
    if AGE in batch.schema.names:
        ages = batch[AGE].flatten()
        if batch[AGE].null_count or ages.null_count:
            raise Mismatch(f"column {AGE} holds null: expected a value per input")
        by_row = ages.to_numpy().reshape(len(batch), -1)
        if (by_row < INITIAL).any() or (by_row > batch["tick"].to_numpy()[:, None]).any():
            raise Mismatch(f"column {AGE} holds a value out of range: expected {INITIAL} to the row's tick")
    for port, (dtype, shape) in ports.items():
        if f"{port}.rows" in batch.schema.names:
            values = batch[f"{port}.rows"]
            _check_lengths(f"{port}.rows", pc.list_value_length(values).to_numpy(), worlds)
            if values.flatten().null_count:
                raise Mismatch(f"column {port}.rows holds null: expected a value per world")
        elif f"{port}.mean" in batch.schema.names:
            for name, _ in port_columns(port, dtype, shape)[1:]:
                if batch[name].null_count not in ((0,) if prod(shape) else (len(batch),)):
                    raise Mismatch(f"column {name} holds null: expected a value in every row")
        if f"{port}.data" in batch.schema.names:
            values = batch[f"{port}.data"]
            sizes = pc.binary_length(values).to_numpy(zero_copy_only=False)
            _check_lengths(f"{port}.data", sizes, worlds.astype(float) * prod(shape) * WIDTHS[dtype])


def _check_lengths(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    wrong = np.flatnonzero(found != expected)
    if len(wrong):
        raise Mismatch(f"column {name} holds {found[wrong[0]]:,.0f} in row {wrong[0]}: expected {expected[wrong[0]]:,.0f}, "
                       "as its batch and shape give")
