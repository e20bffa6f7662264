"""What is recorded of a message, and reading of files cut off at any byte."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ami.trace import node_file
from ami.trace.log import TraceLog
from ami.trace.reader import read_batches
from tests.ami.trace.written import written


def short_hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:8]


def test_a_row_holds_its_times_and_its_number_of_worlds(tmp_path: Path) -> None:
    kept = written(tmp_path, {"state": torch.zeros(5, 3)}, {"state": torch.ones(5, 3)})
    assert kept.select(["wave", "tick", "batch", "start", "end"]).to_pydict() == {
        "wave": [0, 0], "tick": [0, 1], "batch": [5, 5], "start": [0, 10], "end": [3, 13]}


def test_the_schema_names_the_node_and_its_ports(tmp_path: Path) -> None:
    metadata = written(tmp_path, {"state": torch.zeros(2, 3, 4), "mode": torch.ones(2, dtype=torch.int64)}).schema.metadata
    assert metadata[b"node"] == b"node"
    assert metadata[b"ports"] == b'{"state": ["float32", [3, 4]], "mode": ["int64", []]}'


@pytest.mark.parametrize("message", [
    torch.arange(12.0).reshape(2, 6), torch.arange(24, dtype=torch.uint8).reshape(2, 12), torch.arange(3), torch.ones(9) > 0,
    torch.arange(12.0).reshape(2, 6).T, torch.arange(12.0).reshape(3, 4)[:, ::2], torch.ones(4, 4, dtype=torch.bfloat16)])
def test_the_hash_is_the_beginning_of_the_sha256_of_the_content(tmp_path: Path, message: torch.Tensor) -> None:
    content = message.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    assert written(tmp_path, {"port": message})["port.hash"].to_pylist() == [short_hash(content)]


@pytest.mark.parametrize("message", [torch.tensor([1.5]), torch.tensor([3]), torch.tensor([[0.5, -0.5]]), torch.ones(7) > 0])
def test_content_of_up_to_eight_bytes_is_its_own_hash(tmp_path: Path, message: torch.Tensor) -> None:
    content = message.flatten().view(torch.uint8).numpy().tobytes()
    assert written(tmp_path, {"port": message})["port.hash"].to_pylist() == [content.ljust(8, b"\0")]


def test_floating_point_messages_have_statistics_and_pictures_have_none(tmp_path: Path) -> None:
    picture = torch.zeros(2, 4, dtype=torch.uint8)
    kept = written(tmp_path, {"state": torch.tensor([[1.0, 2.0], [3.0, 6.0]]), "picture": picture})
    values = np.array([1.0, 2.0, 3.0, 6.0])
    assert [kept[f"state.{name}"][0].as_py() for name in ("mean", "std", "min", "max")] == pytest.approx(
        [values.mean(), values.std(), 1.0, 6.0])
    assert not [name for name in kept.column_names if name.startswith("picture.") and name != "picture.hash"]


def test_a_scalar_message_records_the_value_of_every_world(tmp_path: Path) -> None:
    kept = written(tmp_path, {"energy": torch.tensor([0.5, 2.0]), "success": torch.tensor([False, True])},
                   {"energy": torch.tensor([1.5, 3.0]), "success": torch.tensor([True, True])})
    assert kept["energy.rows"].to_pylist() == [[0.5, 2.0], [1.5, 3.0]]
    assert kept["success.rows"].to_pylist() == [[0.0, 1.0], [1.0, 1.0]]


def test_payloads_are_recorded_on_request(tmp_path: Path) -> None:
    message = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    assert written(tmp_path, {"state": message}, payload=True)["state.data"].to_pylist() == [message.numpy().tobytes()]


def test_a_message_without_any_value_is_recorded(tmp_path: Path) -> None:
    kept = written(tmp_path, {"goal": torch.zeros(2, 0)}, {"goal": torch.zeros(2, 0)})
    assert kept["goal.hash"].to_pylist() == [bytes(8)] * 2 and kept["goal.mean"].to_pylist() == [None] * 2


def test_a_diverged_model_does_not_stop_the_trace(tmp_path: Path) -> None:
    kept = written(tmp_path, {"state": torch.tensor([[float("inf"), -float("inf"), float("nan"), 3e38]])})
    assert np.isnan(kept["state.mean"][0].as_py())


def test_a_changed_number_of_worlds_begins_a_new_block(tmp_path: Path) -> None:
    log = TraceLog(tmp_path)
    for tick, batch in ((0, 4), (1, 4), (0, 4), (0, 2), (1, 2), (0, 4)):
        log.add("node", 0, tick, 0, 0, {"energy": torch.arange(float(batch))})
    log.close()
    batches, is_torn = read_batches(tmp_path / "node.0.arrow")
    assert [set(batch["batch"].to_pylist()) for batch in batches] == [{4}, {2}, {4}]
    assert [batch.num_rows for batch in batches] == [3, 2, 1] and not is_torn
    assert batches[1]["energy.rows"].to_pylist() == [[0.0, 1.0]] * 2


def test_large_blocks_are_compressed_and_read_as_they_were(tmp_path: Path) -> None:
    pictures = [{"picture": torch.full((2, 32, 32), tick, dtype=torch.uint8)} for tick in range(200)]
    kept = written(tmp_path, *pictures, payload=True)
    assert (tmp_path / "node.0.arrow").stat().st_size < 2048 * 200 / 10
    assert kept["picture.data"].to_pylist() == [bytes([tick]) * 2048 for tick in range(200)]
    with pa.ipc.open_stream(tmp_path / "node.0.arrow") as stream:  # any Arrow reader can
        assert stream.read_all().equals(kept)


def test_the_records_are_those_of_a_plain_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [{"energy": torch.rand(9), "state": torch.rand(9, 4)} for _ in range(400)]
    small = written(tmp_path / "lz4", *messages)
    monkeypatch.setattr(node_file, "LEAST_COMPRESSED", 2**40)
    plain = written(tmp_path / "plain", *messages)
    assert small.equals(plain)
    assert (tmp_path / "lz4" / "node.0.arrow").stat().st_size < (tmp_path / "plain" / "node.0.arrow").stat().st_size


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A closed file, and its sizes after the schema and after each of its four blocks of 3 rows."""
    folder = tmp_path_factory.mktemp("trace")
    path = folder / "node.0.arrow"
    log = TraceLog(folder, payload=True)
    sizes = []
    for tick in range(12):
        log.add("node", 0, tick, tick, tick + 1, {"state": torch.full((2, 3), float(tick)), "energy": torch.ones(2) * tick})
        if tick % 3 == 2:
            log.flush()
            sizes.append(path.stat().st_size)
    log.close()
    with path.open("rb") as file:
        pa.ipc.read_schema(file)
        return path, [file.tell(), *sizes]


@given(st.data())
def test_a_file_cut_off_at_any_byte_leaves_its_whole_blocks(growing: tuple[Path, list[int]], data: st.DataObject) -> None:
    path, sizes = growing
    content = path.read_bytes()
    cut = data.draw(st.one_of(st.integers(0, len(content)), st.sampled_from([s + d for s in sizes for d in (-1, 0, 1)])))
    torn = path.with_name("torn.arrow")
    torn.write_bytes(content[:cut])
    left, is_torn = read_batches(torn)
    whole, _ = read_batches(path)
    assert len(left) == sum(size <= cut for size in sizes[1:])
    assert all(one.equals(other) for one, other in zip(left, whole, strict=False))
    if cut < sizes[-1]:
        assert is_torn == (cut not in sizes)


def test_a_closed_file_is_whole(growing: tuple[Path, list[int]]) -> None:
    batches, is_torn = read_batches(growing[0])
    assert [batch["tick"].to_pylist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert not is_torn


def test_a_file_cut_in_its_last_block_reads_as_the_blocks_before(tmp_path: Path) -> None:
    log = TraceLog(tmp_path)
    for tick in range(9):
        log.add("world", 0, tick, tick, tick + 1, {"state": torch.full((2, 3), float(tick)), "energy": torch.ones(2)})
        if tick % 3 == 2:
            log.flush()
    content = (tmp_path / "world.0.arrow").read_bytes()
    log.close()
    before = _size_of(content, 2)
    torn = tmp_path / "torn.arrow"
    for cut in range(before, len(content) + 1):
        torn.write_bytes(content[:cut])
        batches, is_torn = read_batches(torn)
        ticks = [tick for batch in batches for tick in batch["tick"].to_pylist()]
        assert ticks == list(range(9 if cut == len(content) else 6)), cut
        assert is_torn == (before < cut < len(content)), cut
    assert len(content) - before > 500


def _size_of(content: bytes, blocks: int) -> int:
    """Size of a file up to this number of record batches."""
    stream = pa.BufferReader(content)
    pa.ipc.read_schema(stream)
    for _ in range(blocks):
        pa.ipc.read_message(stream)
    return stream.tell()
