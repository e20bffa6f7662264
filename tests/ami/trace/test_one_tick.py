"""Reading of a few ticks of a long trace."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ami.errors import TraceError
from ami.graph.graph import Graph
from ami.trace import stream_reader
from ami.trace.header import write_header
from ami.trace.invocation import invocations, open_tick
from ami.trace.log import TraceLog
from ami.trace.node_file import END_OF_STREAM
from ami.trace.reader import Trace, read_batches
from ami.trace.stream_reader import Span, Stream

TICKS, BLOCK = 90, 10


@pytest.fixture
def long(tiny_agent: Callable[..., Graph], tmp_path: Path) -> Path:
    """Two waves of 90 ticks, in blocks of ten ticks; the world records when its input was sent, perception does not."""
    write_header(tmp_path, tiny_agent(), seed=0)
    log = TraceLog(tmp_path / "trace" / "agent-0")
    for wave in (3, 4):
        for tick in range(TICKS):
            log.add("world", wave, tick, tick, tick + 1, {"reward": torch.tensor([float(tick)])}, (1 if tick else -1,))
            for node in ("perception", "world_model", "actor"):
                log.add(node, wave, tick, tick, tick + 1, {"port": torch.tensor([100.0 * wave + tick])})
            if tick % BLOCK == BLOCK - 1:
                log.flush()
    log.close()
    return tmp_path


def test_one_tick_is_as_in_the_whole_trace(long: Path) -> None:
    whole = Trace.open(long)
    for wave, tick in ((3, 0), (3, 10), (4, 57), (4, TICKS - 1)):
        assert invocations(open_tick(long, wave, tick), wave, tick) == invocations(whole, wave, tick)
    assert open_tick(long, None, 5).waves == {3: 6} and Trace.first_wave(long) == 3


def test_only_the_record_batches_of_the_tick_are_read(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    check = stream_reader.check_rows
    monkeypatch.setattr(stream_reader, "check_rows", lambda batch, ports: (read.append(len(batch)), check(batch, ports)))
    trace = open_tick(long, 4, 57)
    assert read == [BLOCK] * 4
    assert [table["tick"].to_pylist() for table in trace.tables.values()] == [[56, 57]] * 4


def test_a_tick_that_is_not_there_is_refused_with_those_that_are(long: Path) -> None:
    with pytest.raises(TraceError, match=r"holds no tick 90 in wave 3: expected 0 to 89\. Fix: --tick 89"):
        invocations(open_tick(long, 3, TICKS), 3, TICKS)
    with pytest.raises(TraceError, match=r"holds no wave 7: expected 3 to 4"):
        invocations(open_tick(long, 7, 0), 7, 0)


def test_files_of_earlier_versions_are_read_whole_and_filtered(long: Path) -> None:
    whole = Trace.open(long)
    for path in (long / "trace" / "agent-0").iterdir():
        batches, _ = read_batches(path)
        path.write_bytes(b"".join([bytes(batches[0].schema.serialize()), *(bytes(batch.serialize()) for batch in batches),
                                   END_OF_STREAM]))
    assert Trace.first_wave(long) == 3
    assert invocations(open_tick(long, 4, 57), 4, 57) == invocations(whole, 4, 57)


def test_a_torn_file_is_read_up_to_its_last_whole_batch(long: Path) -> None:
    path = long / "trace" / "agent-0" / "world.0.arrow"
    path.write_bytes(path.read_bytes()[:-20])
    found = Stream(path, span=Span(4, 75, 85))
    assert found.is_torn and [batch["tick"].to_pylist() for batch in found.batches] == [list(range(70, 80))]
