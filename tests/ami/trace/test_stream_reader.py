"""An untrusted Arrow stream: no declared size is allocated and no offset followed unchecked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from ami.errors import PortError, TraceError
from ami.trace import stream_reader
from ami.trace.log import TraceLog
from ami.trace.stream_reader import Stream


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """Three ticks of two worlds: a scalar, a vector and a flag, with their bytes."""
    log = TraceLog(tmp_path, payload=True)
    for tick in range(3):
        log.add("node", 0, tick, 10, 20, {"energy": torch.tensor([1.0, 2.0]), "state": torch.ones(2, 3),
                                          "over": torch.tensor([True, False])}, ages=(0, 1 if tick else -1))
    log.close()
    return tmp_path / "node.0.arrow"


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table], **options: Any) -> None:
    table = change(pa.Table.from_batches(Stream(path).batches))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(
            file, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)


def column(name: str, values: list[Any], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        return table.set_column(at, name, pa.array(values, kind or table.schema.field(name).type))
    return change


def described(**metadata: str) -> Callable[[pa.Table], pa.Table]:
    changed = {name.encode(): text.encode() for name, text in metadata.items()}
    return lambda table: table.replace_schema_metadata({**table.schema.metadata, **changed})


def test_a_written_log_is_read(stream: Path) -> None:
    found = Stream(stream)
    assert (found.node, found.is_torn, sum(map(len, found.batches))) == ("node", False, 3)
    assert found.ports == {"energy": ("float32", ()), "state": ("float32", (3,)), "over": ("bool", ())}


@pytest.mark.parametrize(("change", "words"), [
    (column("batch", [2**31 - 1] * 3), "column energy.rows holds 2 in row 0: expected 2,147,483,647, as its batch"),
    (column("batch", [0, 2, 2]), "column batch holds 0: expected 1 or more"),
    (column("tick", [-1, 0, 1]), "column tick holds -1: expected 0 or more"),
    (column("age", [None, [0, 1], [0, 1]]), "column age holds null: expected a value per input"),
    (column("age", [[0, -1], [0, 2], [0, 1]]), "column age holds a value out of range: expected -1 to the row's tick"),
    (column("age", [[0, 0]] * 3, pa.list_(pa.int32())), r"column 'age' is list<.*>: expected a list of 1 to 1000 int32"),
    (column("age", [[0, 0]] * 3, pa.list_(pa.int64(), 2)), r"column 6 is 'age' of .*int64>\[2\]: expected 'age'"),
    (column("tick", [None, 0, 1]), "column tick holds null: expected a value in every row"),
    (column("end", [0, 20, 20]), "column end holds a time before its start or out of range"),
    (column("energy.rows", [[1.0], [1, 2], [1, 2]]), "column energy.rows holds 1 in row 0: expected 2"),
    (column("energy.rows", [[1.0, None], [1, 2], [1, 2]]), "column energy.rows holds null: expected a value per world"),
    (column("state.data", [b"x", bytes(24), bytes(24)]), "column state.data holds 1 in row 0: expected 24"),
    (column("state.mean", [None, 1.0, 1.0]), "column state.mean holds null: expected a value in every row"),
    (column("state.hash", [None, bytes(8), bytes(8)]), "column state.hash holds null: expected a value in every row"),
    (column("tick", ["0", "1", "2"], pa.string()), "column 1 is 'tick' of string: expected 'tick' of int32"),
    (lambda table: table.drop_columns(["wave"]), "column 0 is 'tick' of int32: expected 'wave' of int32"),
    (lambda table: table.append_column("extra", pa.array([1, 2, 3])), "column 19 is 'extra': expected 19 columns"),
    (lambda table: table.append_column("extra", pa.array(list("abc")).dictionary_encode()), "expected 19 columns"),
    (described(node="../x"), r"metadata\.node is '\.\./x': expected a name of letters, digits and _"),
    (described(ports="[]"), r"metadata\.ports is \[\]: expected a mapping"),
    (described(ports='{"energy": ["Tensor", []]}'), r"metadata\.ports\.energy\[0\] is 'Tensor': expected one of bool, "),
    (described(ports='{"energy": ["float32", [4294967296]]}'), r"metadata\.ports\.energy\[1\]\[0\] is 4294967296: expected"),
    (described(ports='{"energy": ["float32", [999999999, 999999999]]}'), "expected at most 1,099,511,627,776 values"),
    (lambda table: table.replace_schema_metadata({}), r"metadata\.node is missing: expected a name"),
])
def test_columns_rows_and_metadata_are_checked_for_consistency(stream: Path, change: Any, words: str) -> None:
    rewrite(stream, change)
    with pytest.raises(TraceError, match=rf"node\.0\.arrow is not a trace file: .*{words}.*\. Fix: copy the run") as caught:
        Stream(stream)
    assert "\n" not in str(caught.value)


def test_a_compressed_batch_is_refused_before_it_expands(stream: Path) -> None:
    rewrite(stream, lambda table: table, compression="zstd")
    with pytest.raises(TraceError, match=r"the record batch at byte [\d,]+ is compressed with zstd: expected lz4 or plain"):
        Stream(stream)


def test_compressed_buffers_that_expand_beyond_the_memory_are_refused_unexpanded(
        stream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(stream, lambda table: table, compression="lz4")
    assert sum(map(len, Stream(stream).batches)) == 3
    monkeypatch.setattr(stream_reader, "memory", lambda: 2.0 * stream.stat().st_size)
    content = stream.read_bytes()
    first = content.index((24).to_bytes(8, "little") + b"\x04\x22\x4d\x18")  # a declared size, and lz4's magic number
    stream.write_bytes(content[:first] + (2**40).to_bytes(8, "little") + content[first + 8:])
    with pytest.raises(TraceError, match=r"its record batches expand to more than [\d,]+ bytes at byte [\d,]+"):
        Stream(stream)
    monkeypatch.undo()
    stream.write_bytes(content[:first] + (25).to_bytes(8, "little") + content[first + 8:])
    with pytest.raises(TraceError, match="is not a trace file"):
        Stream(stream)


def test_a_body_longer_than_the_file_is_a_torn_end_and_not_allocated(stream: Path) -> None:
    content = stream.read_bytes()
    first = Stream(stream)._messages(memoryview(content))
    next(first)
    place, head, *_ = next(first)
    body = len(content) - place - 8 - len(head) - 8  # of the only batch; the end of the stream follows
    where = content.index(body.to_bytes(8, "little"), place)
    stream.write_bytes(content[:where] + (2**60).to_bytes(8, "little") + content[where + 8:])
    found = Stream(stream)
    assert (found.batches, found.is_torn) == ([], True)


@pytest.mark.parametrize(("content", "words"), [
    (b"not arrow at all", "byte 0 begins no Arrow message: expected FF FF FF FF"),
    (b"\xff\xff\xff\xff\x08\0\0\0" + b"\x7f" * 8, "its messages have damaged heads"),
    (b"\xff\xff\xff\xff\xff\xff\xff\xff", "the message at byte 0 has a head of -1 bytes: expected 1 or more")])
def test_a_file_that_is_no_stream_is_refused(stream: Path, content: bytes, words: str) -> None:
    stream.write_bytes(content)
    with pytest.raises(TraceError, match=words):
        Stream(stream)


def test_bytes_after_the_end_are_refused(stream: Path) -> None:
    stream.write_bytes(stream.read_bytes() + b"more")
    with pytest.raises(TraceError, match="4 bytes follow its end: expected none"):
        Stream(stream)


def test_zeros_that_a_power_failure_leaves_are_a_torn_end(stream: Path) -> None:
    stream.write_bytes(stream.read_bytes()[:-8] + bytes(4096))
    found = Stream(stream)
    assert (sum(map(len, found.batches)), found.is_torn) == (3, True)


def test_a_file_larger_than_half_of_the_memory_is_refused_unread(stream: Path) -> None:
    with stream.open("wb") as file:
        file.truncate(2**42)
    with pytest.raises(TraceError, match=r"it has 4,398,046,511,104 bytes: expected at most [\d,]+"):
        Stream(stream)


def test_a_pipe_is_refused_without_waiting(stream: Path) -> None:
    stream.unlink()
    os.mkfifo(stream)
    with pytest.raises(TraceError, match="it is a pipe: expected a regular file"):
        Stream(stream)


def test_a_log_refuses_a_dtype_that_readers_do_not_support(tmp_path: Path) -> None:
    log = TraceLog(tmp_path)
    with pytest.raises(PortError, match=r"node\.wave sent complex64: a trace records bool, .*Fix: cast it in step\(\)"):
        log.add("node", 0, 0, 1, 2, {"wave": torch.zeros(2, 3, dtype=torch.complex64)})
    log.close()


def test_json_of_ports_is_what_the_log_wrote(stream: Path) -> None:
    metadata = Stream(stream).batches[0].schema.metadata
    assert json.loads(metadata[b"ports"])["state"] == ["float32", [3]]
