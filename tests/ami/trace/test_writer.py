"""Full, failing and slow disks."""

import errno
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ami.errors import TraceError
from ami.trace import node_file, writer
from ami.trace.log import BLOCK_ROWS, TraceLog
from ami.trace.reader import read_batches
from ami.trace.writer import INCOMPLETE


def ticks(path: Path) -> list[int]:
    batches, is_torn = read_batches(path)
    assert not is_torn
    return [tick for batch in batches for tick in batch["tick"].to_pylist()]


class SmallFile(io.FileIO):
    """A file of limited size: it takes what fits, and then nothing."""

    largest = 2**31

    def write(self, content: Any) -> int:
        room = SmallFile.largest - self.tell()
        if room <= 0:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return super().write(memoryview(content).cast("B")[:room])


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the maximal size of a log's file. A limit on the process would also affect the test runner's own files."""
    monkeypatch.setattr(SmallFile, "largest", 2**31)
    plain = Path.open

    def small(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        return io.BufferedWriter(SmallFile(str(path), mode)) if mode == "xb" else plain(path, mode, *more, **named)

    monkeypatch.setattr(Path, "open", small)
    return lambda size: setattr(SmallFile, "largest", size)


def test_a_full_disk_stops_the_recording_and_not_the_agent(
        tmp_path: Path, small_disk: Callable[[int], None], capfd: pytest.CaptureFixture[str]) -> None:
    log = TraceLog(tmp_path, payload=True)

    def record(ticks: range) -> None:
        for tick in ticks:
            log.add("world", 0, tick, 0, 0, {"energy": torch.zeros(1)})
            log.add("actor", 0, tick, 0, 0, {"action": torch.zeros(1, 64)})
        log.flush()

    record(range(10))
    small_disk((tmp_path / "actor.0.arrow").stat().st_size + 1000)
    record(range(10, 20))
    record(range(20, 30))
    log.add("planner", 0, 30, 0, 0, {"plan": torch.zeros(1)})
    log.close()
    assert capfd.readouterr().err == (
        f"ami: {tmp_path}: the trace could not be written (File too large): nothing is recorded from wave 0, tick 10 on; "
        "the agent continues. Fix: room on this disk, or another store\n")
    assert (tmp_path / INCOMPLETE).read_text() == (
        "the trace could not be written (File too large): nothing is recorded from wave 0, tick 10 on\n")
    assert ticks(tmp_path / "actor.0.arrow") == list(range(10))
    assert {path.name for path in tmp_path.iterdir()} == {"actor.0.arrow", "world.0.arrow", INCOMPLETE}


@pytest.mark.parametrize("room", [10, 900])  # less than the schema, less than the first block
def test_a_disk_that_is_full_from_the_start_leaves_no_file(
        tmp_path: Path, small_disk: Callable[[int], None], capsys: pytest.CaptureFixture[str], room: int) -> None:
    small_disk(room)
    log = TraceLog(tmp_path)
    for tick in range(3):
        log.add("world", 1, tick, 0, 0, {"energy": torch.zeros(1)})
    log.close()
    assert capsys.readouterr().err.count("nothing is recorded from wave 1, tick 0 on") == 1
    assert not list(tmp_path.glob("*.arrow"))


def test_a_failed_sync_at_the_end_is_reported(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    log = TraceLog(tmp_path)
    log.add("world", 0, 0, 0, 0, {"energy": torch.zeros(1)})
    monkeypatch.setattr(node_file.os, "fsync", broken)
    log.close()
    assert "(Input/output error): its last block may be missing" in capfd.readouterr().err
    assert ticks(tmp_path / "world.0.arrow") == [0]


class StuckFile(io.FileIO):
    """A file whose disk blocks until it is released."""

    moves = threading.Event()

    def write(self, content: Any) -> int:
        StuckFile.moves.wait(60)
        return super().write(content)


@pytest.fixture
def stuck_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that blocks until the event is set."""
    StuckFile.moves.clear()
    plain = Path.open

    def stuck(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        return io.BufferedWriter(StuckFile(str(path), mode)) if mode == "xb" else plain(path, mode, *more, **named)

    monkeypatch.setattr(Path, "open", stuck)
    yield StuckFile.moves
    StuckFile.moves.set()


def test_no_tick_waits_for_a_slow_disk_which_is_reported_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck_disk: threading.Event,
        capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(writer, "SLOW_SECONDS", 0.0)
    log = TraceLog(tmp_path)
    for tick in range(3 * BLOCK_ROWS):
        log.add("world", 0, tick, 0, 0, {"energy": torch.zeros(1)})
    assert not any(path.stat().st_size for path in tmp_path.iterdir())
    stuck_disk.set()
    log.close()
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1 and printed.endswith(
        f" s to write a block of the trace in {tmp_path}: the agent runs ahead of it, by up to 256 MiB in memory. "
        "Fix: a store on a quicker disk, or trace.record=false\n")
    assert ticks(tmp_path / "world.0.arrow") == list(range(3 * BLOCK_ROWS))


def test_ticks_wait_for_a_full_backlog_and_nothing_is_lost(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck_disk: threading.Event,
        capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(writer, "BACKLOG_BYTES", 3 * BLOCK_ROWS * 4)
    log = TraceLog(tmp_path)
    tick = 0

    def run() -> None:
        nonlocal tick
        for tick in range(6 * BLOCK_ROWS):
            log.add("world", 0, tick, 0, 0, {"energy": torch.zeros(1)})

    agent = threading.Thread(target=run)
    agent.start()
    until = time.monotonic() + 60
    while tick < 4 * BLOCK_ROWS - 1 and time.monotonic() < until:
        time.sleep(0.01)
    agent.join(0.2)
    assert agent.is_alive() and tick == 4 * BLOCK_ROWS - 1
    stuck_disk.set()
    agent.join(60)
    log.close()
    assert capfd.readouterr().err == (
        f"ami: 0 MiB of the trace wait for the disk of {tmp_path}: from now on ticks wait for it. "
        "Fix: a store on a quicker disk, or trace.record=false\n")
    assert ticks(tmp_path / "world.0.arrow") == list(range(6 * BLOCK_ROWS))


def test_an_error_of_the_log_itself_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> float:
        raise RuntimeError("an error of the log")

    monkeypatch.setattr(node_file.NodeFile, "write", broken)
    log = TraceLog(tmp_path)
    log.add("world", 0, 0, 0, 0, {"energy": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="an error of the log"):
        log.close()


def test_a_closed_log_refuses_more(tmp_path: Path) -> None:
    log = TraceLog(tmp_path)
    log.close()
    log.close()
    log.add("world", 0, 0, 0, 0, {"energy": torch.zeros(1)})
    with pytest.raises(TraceError, match=r"^the trace in .* is closed: nothing more can be recorded there\. Fix: another"):
        log.flush()


def test_a_closed_log_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    log = TraceLog(tmp_path)
    log.add("world", 0, 0, 0, 0, {"energy": torch.zeros(1)})
    log.flush()
    assert len(set(threading.enumerate()) - before) == 1
    log.close()
    assert set(threading.enumerate()) == before
