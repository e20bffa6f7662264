"""When the log writes, and what it copies."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ctypes import Array, c_char
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ami.errors import PortError
from ami.trace import log as log_module
from ami.trace.log import BLOCK_ROWS, BLOCK_SECONDS, TraceLog
from ami.trace.reader import read_batches
from tests.ami.trace.written import table, written


def comes_to(folder: Path, rows: int) -> bool:
    """Whether this number of rows is soon on disk."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        path = folder / "node.0.arrow"  # the writer may have just created it
        if path.exists() and sum(batch.num_rows for batch in read_batches(path)[0]) == rows:
            return True
        time.sleep(0.01)
    return False


def test_notes_are_recorded_with_payloads_and_cleared_after_each_step(tmp_path: Path) -> None:
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
    assert comes_to(tmp_path, BLOCK_ROWS)
    log.close()
    assert table(tmp_path).num_rows == BLOCK_ROWS + 1


def test_a_block_is_written_after_its_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module.time, "perf_counter_ns", lambda: 0)
    log = TraceLog(tmp_path)
    log.add("node", 0, 0, 0, int(0.9e9 * BLOCK_SECONDS), {"energy": torch.zeros(1)})
    assert not list(tmp_path.iterdir())
    log.add("node", 0, 1, 0, int(1.1e9 * BLOCK_SECONDS), {"energy": torch.zeros(1)})
    assert comes_to(tmp_path, 2)
    log.close()


def test_a_second_log_in_the_folder_writes_files_of_its_own(tmp_path: Path) -> None:
    first = written(tmp_path, {"energy": torch.zeros(1)})
    written(tmp_path, {"energy": torch.ones(1)})
    assert table(tmp_path).equals(first)
    assert table(tmp_path, number=1)["energy.rows"].to_pylist() == [[1.0]]


def test_an_empty_log_writes_nothing(tmp_path: Path) -> None:
    TraceLog(tmp_path / "trace").close()
    assert list((tmp_path / "trace").iterdir()) == []


def test_notes_may_share_memory_and_must_be_tensors(tmp_path: Path) -> None:
    log = TraceLog(tmp_path, payload=True)
    noted = log.notes("node")
    assert noted is not None
    noted["candidates"] = torch.arange(6.0).reshape(1, 6)
    noted["best"] = noted["candidates"][:, 0]
    log.add("node", 0, 0, 0, 0, {"energy": torch.zeros(1)})
    noted["best"] = 3.0  # type: ignore[assignment]
    with pytest.raises(PortError, match="node notes 'best' as a float: expected a tensor with the batch first"):
        log.add("node", 0, 1, 0, 0, {"energy": torch.zeros(1)})
    log.close()
    assert safetensors.torch.load(table(tmp_path)["notes"][0].as_py())["best"].tolist() == [0.0]


def test_an_interrupt_anywhere_loses_no_earlier_tick_of_any_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory_of = log_module.memory_of
    for at in range(1, 12):
        calls = iter(range(1000))

        def interrupted(size: int, calls: Iterator[int] = calls, at: int = at) -> Callable[[int], Array[c_char]]:
            def memory_at(address: int) -> Array[c_char]:
                if next(calls) == at:
                    raise KeyboardInterrupt
                return memory_of(size)(address)

            return memory_at

        monkeypatch.setattr(log_module, "memory_of", interrupted)
        log = TraceLog(tmp_path / str(at), payload=True)
        notes = log.notes("one")
        assert notes is not None
        with pytest.raises(KeyboardInterrupt):
            for tick in range(9):
                notes["why"] = torch.ones(1)
                log.add("one", 0, tick, 0, 0, {"energy": torch.zeros(1)})
                log.add("two", 0, tick, 0, 0, {"plan": torch.zeros(1, 3)})
        log.close()
        assert table(tmp_path / str(at), "one")["tick"].to_pylist() == list(range(-(-at // 2)))
        if at > 1:
            assert table(tmp_path / str(at), "two")["tick"].to_pylist() == list(range(at // 2))


def test_a_log_that_is_never_closed_is_written_when_its_process_ends(tmp_path: Path) -> None:
    script = ("import sys, torch; from pathlib import Path; from ami.trace.log import TraceLog; "
              "log = TraceLog(Path(sys.argv[1])); log.add('node', 0, 0, 0, 0, {'energy': torch.zeros(1)})")
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    assert table(tmp_path).num_rows == 1
