"""When the log writes, and what it copies."""

import time
from pathlib import Path

import pyarrow as pa
import pytest
import safetensors.torch
import torch

from ami.tracing import log as log_module
from ami.tracing.log import BLOCK_ROWS, BLOCK_SECONDS, TraceLog
from ami.tracing.reader import read_batches


def table(folder: Path, node: str = "node", number: int = 0) -> pa.Table:
    return pa.Table.from_batches(read_batches(folder / f"{node}.{number}.arrow")[0])


def written(folder: Path, *outputs: dict[str, torch.Tensor], payload: bool = False) -> pa.Table:
    log = TraceLog(folder, payload)
    for tick, output in enumerate(outputs):
        log.add("node", 0, tick, 10 * tick, 10 * tick + 3, output)
    log.close()
    return table(folder)


def comes_to(folder: Path, rows: int) -> bool:
    """Whether so many rows are soon on the disk."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if (folder / "node.0.arrow").exists() and table(folder).num_rows == rows:
            return True
        time.sleep(0.01)
    return False


def test_what_a_step_notes_is_kept_with_the_payloads_and_forgotten_before_the_next(tmp_path: Path) -> None:
    log = TraceLog(tmp_path, payload=True)
    noted = log.notes("node")
    for tick, batch in ((0, 1), (1, 1), (2, 2)):
        if tick != 1:
            noted["candidates"] = torch.full((batch, 3), float(tick))
        log.add("node", 0, tick, 0, 0, {"energy": torch.zeros(batch)})
        assert noted == {}
    log.close()
    found = [safetensors.torch.load(content) if content else {} for batch in read_batches(tmp_path / "node.0.arrow")[0]
             for content in batch["notes"].to_pylist()]
    assert [{name: value.tolist() for name, value in each.items()} for each in found] == [
        {"candidates": [[0.0] * 3]}, {}, {"candidates": [[2.0] * 3] * 2}]
    assert TraceLog(tmp_path / "bare").notes("node") is None


def test_a_full_block_is_on_the_disk_before_the_log_is_closed(tmp_path: Path) -> None:
    log = TraceLog(tmp_path)
    for tick in range(BLOCK_ROWS + 1):
        log.add("node", 0, tick, 0, 0, {"energy": torch.zeros(1)})
        log.keep()
    assert comes_to(tmp_path, BLOCK_ROWS)
    log.close()
    assert table(tmp_path).num_rows == BLOCK_ROWS + 1


def test_a_block_is_written_when_its_time_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module.time, "perf_counter_ns", lambda: 0)
    log = TraceLog(tmp_path)
    log.add("node", 0, 0, 0, int(0.9e9 * BLOCK_SECONDS), {"energy": torch.zeros(1)})
    log.keep()
    assert not list(tmp_path.iterdir())
    log.add("node", 0, 1, 0, int(1.1e9 * BLOCK_SECONDS), {"energy": torch.zeros(1)})
    log.keep()
    assert comes_to(tmp_path, 2)
    log.close()


def test_a_second_log_in_the_folder_writes_files_of_its_own(tmp_path: Path) -> None:
    first = written(tmp_path, {"energy": torch.zeros(1)})
    written(tmp_path, {"energy": torch.ones(1)})
    assert table(tmp_path).equals(first)
    assert table(tmp_path, number=1)["energy.rows"].to_pylist() == [[1.0]]


def test_a_log_that_was_told_nothing_writes_nothing(tmp_path: Path) -> None:
    TraceLog(tmp_path / "trace").close()
    assert list((tmp_path / "trace").iterdir()) == []
