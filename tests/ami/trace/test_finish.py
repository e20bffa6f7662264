"""Finishing the files of a killed run: whole records stay, a later process can add to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ami.errors import TraceError
from ami.trace import finish
from ami.trace.finish import finish_files, whole_waves
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace
from tests.ami.toys import graph


def record(folder: Path, wave: int, ticks: range, blocks: int = 2) -> TraceLog:
    """Record some ticks of two nodes in blocks, and leave the log open."""
    log = TraceLog(folder / "trace" / "agent-0")
    for number, tick in enumerate(ticks):
        for node in ("eye", "head"):
            log.add(node, wave, tick, number, number + 1, {"value": torch.full((1,), float(tick))})
        if number % blocks == blocks - 1:
            log.flush()
    return log


def test_a_torn_file_keeps_its_whole_records_and_takes_no_part_in_later_ones(tmp_path: Path) -> None:
    write_header(tmp_path, graph(), seed=0)
    record(tmp_path, 0, range(6)).close()
    torn = tmp_path / "trace" / "agent-0" / "eye.0.arrow"
    torn.write_bytes(torn.read_bytes()[:-40])  # the end mark, and a part of the last block
    (tmp_path / "trace" / "agent-0" / "book.0.arrow").write_bytes(b"\xff\xff")
    finish_files(tmp_path)
    trace = Trace.open(tmp_path)
    assert not trace.unfinished and not trace.truncated
    assert trace.table("eye")["tick"].to_pylist() == [0, 1, 2, 3] and len(trace.table("head")) == 6
    assert not (tmp_path / "trace" / "agent-0" / "book.0.arrow").exists()
    record(tmp_path, 0, range(6)).close()
    assert Trace.open(tmp_path).table("eye")["tick"].to_pylist() == [0, 1, 2, 3, 4, 5]


def test_waves_with_a_missing_tick_are_not_whole(tmp_path: Path) -> None:
    assert whole_waves(tmp_path, {0: 1}, {"eye": 1}) == set()
    write_header(tmp_path, graph(), seed=0)
    for wave, ticks in enumerate((range(4), range(3), range(1, 4))):
        record(tmp_path, wave, ticks).close()
    ticks = {0: 4, 1: 4, 2: 4}
    assert whole_waves(tmp_path, ticks, {"eye": 1, "head": 1}) == {0}
    assert whole_waves(tmp_path, ticks, {"eye": 1, "book": 1}) == set()
    assert whole_waves(tmp_path, {1: 3}, {"eye": 1}) == {1}


def test_a_file_that_is_still_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "WAIT_SECONDS", 0.0)
    write_header(tmp_path, graph(), seed=0)
    log = record(tmp_path, 0, range(2))
    with pytest.raises(TraceError, match="another process still writes"):
        finish_files(tmp_path)
    log.close()
    finish_files(tmp_path)
