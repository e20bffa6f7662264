import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ami.agent import Agent
from ami.blueprint import Episode
from ami.errors import TraceError, UnknownName
from ami.evaluation.evaluate import evaluate
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Difference, Trace


@pytest.fixture
def graph(tiny_agent: Callable[..., Graph]) -> Graph:
    return tiny_agent(observe="state")


def record(folder: Path, graph: Graph, seed: int = 0, agents: int = 1, batch: int = 2, payload: bool = False) -> Trace:
    """Four pairs, run by the tiny agent."""
    write_header(folder, graph, seed=seed)
    running = [Agent(LocalRuntime(graph, seed, recorder=TraceLog(folder / "trace" / f"agent-{i}", payload)))
               for i in range(agents)]
    evaluate(running, Manifest.make(graph.drafts["world"], 5, 2), batch)
    for agent in running:
        agent.close()
    return Trace.open(folder)


def trace_of(folder: Path, graph: Graph, *rows: tuple[str, int, int, int, float], agent: str = "agent-0") -> Trace:
    """A trace of the given (node, wave, tick, start, value of its one port)."""
    write_header(folder, graph, seed=0)
    log = TraceLog(folder / "trace" / agent)
    for node, wave, tick, start, value in rows:
        log.add(node, wave, tick, start, start + 1000, {"port": torch.tensor([value])})
    log.close()
    return Trace.open(folder)


def test_it_holds_a_table_per_node_in_firing_order(graph: Graph, tmp_path: Path) -> None:
    trace = record(tmp_path, graph)
    assert tuple(trace.tables) == graph.order
    assert trace.ports["planner"]["imagined"] == ("float32", (3, 2))
    assert trace.truncated == 0
    assert [table.num_rows for table in trace.tables.values()] == [sum(trace.waves.values())] * len(graph.order)
    keys = list(zip(trace.table("actor")["wave"].to_pylist(), trace.table("actor")["tick"].to_pylist(), strict=True))
    assert keys == [(wave, tick) for wave, ticks in trace.waves.items() for tick in range(ticks)]


def test_a_frame_is_a_pandas_table(graph: Graph, tmp_path: Path) -> None:
    frame = trace_of(tmp_path, graph, ("world", 0, 0, 5000, 1.5)).frame("world")
    assert frame[["wave", "tick", "us", "agent"]].values.tolist() == [[0, 0, 1.0, "agent-0"]]
    assert frame["port.rows"][0].tolist() == [1.5]


def test_the_digest_depends_on_messages_not_on_the_recording_process(graph: Graph, tmp_path: Path) -> None:
    one = record(tmp_path / "one", graph)
    repeated = record(tmp_path / "again", graph)
    by_three = record(tmp_path / "three", graph, agents=3)
    assert one.digest() == repeated.digest() == by_three.digest()
    assert one.compare(by_three) is None
    assert len(one.digest()) == 64 and int(one.digest(), 16)


def test_the_digest_is_independent_of_blocks_and_their_order(graph: Graph, tmp_path: Path) -> None:
    rows = [("world", 0, 0, 1, 1.0), ("world", 0, 1, 2, 2.0), ("world", 1, 0, 3, 3.0)]
    together = trace_of(tmp_path / "a", graph, *rows)
    trace_of(tmp_path / "b", graph, rows[2])
    trace_of(tmp_path / "b", graph, rows[1], agent="agent-1")
    apart = trace_of(tmp_path / "b", graph, rows[0])
    assert together.digest() == apart.digest()


def test_the_digest_is_that_of_earlier_versions(graph: Graph, tmp_path: Path) -> None:
    trace = trace_of(tmp_path, graph, *((node, wave, tick, 1, float(tick)) for node in ("world", "goal")
                                        for wave in (0, 1) for tick in range(3)))
    digest = hashlib.sha256()
    for node in trace.tables:
        digest.update(f"{node}.port\0{6}\0".encode())
        digest.update(struct.pack("<12q", *(0, 0, 0, 1, 1, 1), *(0, 1, 2, 0, 1, 2)))
        digest.update(b"".join(struct.pack("<f4x", tick) for tick in (0, 1, 2, 0, 1, 2)))
    assert trace.digest() == digest.hexdigest()


@pytest.mark.parametrize("row", [("world", 0, 1, 1, 2.5), ("world", 0, 2, 1, 2.0), ("world", 1, 1, 1, 2.0),
                                 ("goal", 0, 1, 1, 2.0)])
def test_the_digest_depends_on_value_tick_wave_and_node(graph: Graph, tmp_path: Path, row: tuple) -> None:
    first = ("world", 0, 0, 1, 1.0)
    assert (trace_of(tmp_path / "a", graph, first, ("world", 0, 1, 1, 2.0)).digest()
            != trace_of(tmp_path / "b", graph, first, row).digest())


def test_the_later_record_of_a_repeated_tick_counts(graph: Graph, tmp_path: Path) -> None:
    plain = trace_of(tmp_path / "a", graph, ("world", 0, 0, 1, 1.0), ("world", 0, 1, 9, 2.0))
    trace_of(tmp_path / "b", graph, ("world", 0, 0, 1, 1.0), ("world", 0, 1, 5, 7.0))
    repeated = trace_of(tmp_path / "b", graph, ("world", 0, 1, 9, 2.0))
    assert repeated.table("world")["port.rows"].to_pylist() == [[1.0], [2.0]]
    assert repeated.digest() == plain.digest()


def test_compare_finds_the_first_message_that_differs(graph: Graph, tmp_path: Path) -> None:
    one, two = record(tmp_path / "one", graph), record(tmp_path / "two", graph, seed=1)
    first = one.compare(two)
    assert first == two.compare(one) == Difference(0, 0, "planner", "plan")
    assert str(first) == "wave 0, tick 0, planner.plan"


def test_compare_goes_by_wave_then_tick_then_firing_order(graph: Graph, tmp_path: Path) -> None:
    same = ("world", 0, 0, 1, 1.0)
    one = trace_of(tmp_path / "a", graph, same, ("world", 1, 0, 1, 1.0), ("actor", 0, 1, 1, 1.0), ("goal", 0, 1, 1, 1.0))
    two = trace_of(tmp_path / "b", graph, same, ("world", 1, 0, 1, 2.0), ("actor", 0, 1, 1, 2.0), ("goal", 0, 1, 1, 2.0))
    assert one.compare(two) == Difference(0, 1, "goal", "port")


def test_compare_finds_an_invocation_that_only_one_trace_holds(graph: Graph, tmp_path: Path) -> None:
    rows = [("world", 0, 0, 1, 1.0), ("world", 0, 1, 1, 1.0)]
    first = trace_of(tmp_path / "a", graph, *rows).compare(trace_of(tmp_path / "b", graph, rows[0]))
    assert first == Difference(0, 1, "world", None)
    assert str(first) == "wave 0, tick 1, world: only one trace holds this invocation"


def test_a_torn_end_is_skipped_and_counted(graph: Graph, tmp_path: Path) -> None:
    rows = [("world", 0, tick, tick, 1.0) for tick in range(3)]
    trace_of(tmp_path, graph, *rows)
    trace_of(tmp_path, graph, ("world", 1, 0, 1, 1.0))
    last = tmp_path / "trace" / "agent-0" / "world.1.arrow"
    last.write_bytes(last.read_bytes()[:-50])
    (tmp_path / "trace" / "agent-0" / "goal.0.arrow").touch()
    trace = Trace.open(tmp_path)
    assert trace.truncated == 2
    assert list(trace.tables) == ["world"] and trace.waves == {0: 3}


def test_a_recorded_message_is_returned(graph: Graph, tmp_path: Path) -> None:
    trace = record(tmp_path, graph, payload=True)
    episodes = Manifest.make(graph.drafts["world"], 5, 2).episodes()[2:]
    with Agent(LocalRuntime(graph, 0, watch=("planner.imagined", "configurator.mode"))) as agent:
        moments = [step.outputs for step in rollout(agent, episodes)]
    for tick in (0, 3):
        imagined = trace.message("planner", "imagined", wave=1, tick=tick)
        assert torch.equal(imagined, moments[tick]["planner.imagined"])
    assert torch.equal(trace.message("configurator", "mode", 1, 0), torch.tensor([2, 2]))


def test_an_unrecorded_message_is_refused(graph: Graph, tmp_path: Path) -> None:
    trace = record(tmp_path / "a", graph)
    with pytest.raises(TraceError, match=r"holds hashes and statistics of actor\.action, not its values\. Fix: run again"):
        trace.message("actor", "action", 0, 0)
    with pytest.raises(UnknownName, match=r"unknown node 'planer': did you mean 'planner'\?"):
        trace.message("planer", "plan", 0, 0)
    with pytest.raises(UnknownName, match=r"unknown port 'planner.plans': did you mean 'planner.plan'\?"):
        trace.message("planner", "plans", 0, 0)
    with pytest.raises(TraceError, match=r"holds no tick 99 of wave 0 for actor: expected one of"):
        record(tmp_path / "b", graph, payload=True).message("actor", "action", 0, 99)


def test_a_run_without_a_trace_is_refused(graph: Graph, tmp_path: Path) -> None:
    write_header(tmp_path, graph, seed=0)
    with pytest.raises(TraceError, match=r"holds no trace: expected .*/\*\.arrow\. Fix: run again with trace\.record=true"):
        Trace.open(tmp_path)


def test_a_run_killed_before_its_first_whole_record_is_refused(graph: Graph, tmp_path: Path) -> None:
    trace_of(tmp_path, graph, ("world", 0, 0, 0, 1.0))
    path = tmp_path / "trace" / "agent-0" / "world.0.arrow"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(TraceError, match=r"cut its files off before their first record was whole\. Fix: run again$"):
        Trace.open(tmp_path)


def test_a_killed_agent_leaves_its_written_blocks(graph: Graph, tmp_path: Path) -> None:
    write_header(tmp_path, graph, seed=0)
    log = TraceLog(tmp_path / "trace" / "agent-0")
    agent = Agent(LocalRuntime(graph, 0, recorder=log))
    agent.reset(torch.ones(1, dtype=torch.bool), [Episode(0, 1)])
    for _ in range(4):
        agent.cycle()
    log.flush()
    agent.cycle()  # lost with the process: the log is never closed
    trace = Trace.open(tmp_path)
    assert trace.waves == {0: 4} and trace.truncated == 0
    assert len(trace.unfinished) == len(trace.tables) and "trace/agent-0/world.0.arrow" in trace.unfinished
    agent.close()
    assert Trace.open(tmp_path).unfinished == ()


def test_the_disk_error_that_ended_a_recording_is_read(graph: Graph, tmp_path: Path) -> None:
    trace = trace_of(tmp_path, graph, ("world", 0, 0, 1, 1.0))
    assert trace.faults == ()
    (tmp_path / "trace" / "agent-0" / "INCOMPLETE").write_text("the trace could not be written (No space): nothing …\n")
    assert Trace.open(tmp_path).faults == ("the trace could not be written (No space): nothing …",)
    (tmp_path / "trace" / "agent-0" / "world.0.arrow").unlink()
    with pytest.raises(TraceError, match=r"holds no trace: .*, but the trace could not be written \(No space\)"):
        Trace.open(tmp_path)
