"""The tick at which each input was sent: recorded, or derived from the wires in traces of earlier versions."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest
import torch

from ami.errors import TraceError
from ami.graph.graph import Graph
from ami.runtime.worker import Worker
from ami.trace.arrivals import arrivals
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace
from ami.views.tables import Tables
from tests.ami.runtime.test_worker import begun
from tests.ami.toys import graph as toy_graph

OUTPUT = {"out": torch.zeros(1)}


def traced(folder: Path, graph: Graph, node: str, ages: list[tuple[int, ...]]) -> Trace:
    """A trace of the actor, and of one more node with these ages of its inputs."""
    write_header(folder, graph, seed=0)
    log = TraceLog(folder / "trace" / "agent-0")
    for tick, age in enumerate(ages):
        log.add("actor", 0, tick, tick, tick, OUTPUT)
        log.add(node, 0, tick, tick, tick, OUTPUT, age)
    log.close()
    return Trace.open(folder)


def sent_to(trace: Trace, node: str) -> dict[str, list[int]]:
    return {str(wire): sent.tolist() for wire, sent in arrivals(trace, node, trace.tables[node])}


def test_the_recorded_tick_counts_not_the_wires_delay(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    trace = traced(tmp_path, tiny_agent(), "world", [(-1,), (1,), (2,), (-1,)])
    assert sent_to(trace, "world") == {"actor.action@-1 → world.action": [-1, 0, 0, -1]}
    assert trace.tables["world"]["age"].to_pylist() == [[-1], [1], [2], [-1]]
    inputs = Tables(trace).inputs
    assert inputs.filter(pc.equal(inputs["node"], "world")).select(["message", "sent", "age"]).to_pylist() == [
        {"message": None, "sent": None, "age": None}, {"message": "actor.action@0", "sent": 0, "age": 1},
        {"message": "actor.action@0", "sent": 0, "age": 2}, {"message": None, "sent": None, "age": None}]


def test_without_ages_the_tick_is_derived_from_the_wires(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    trace = traced(tmp_path, tiny_agent(), "world", [()] * 3)
    assert "age" not in trace.tables["world"].column_names
    assert sent_to(trace, "world") == {"actor.action@-1 → world.action": [-1, 0, 1]}


def test_ages_do_not_enter_the_digest(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    digests = {traced(tmp_path / str(number), tiny_agent(), "world", ages).digest()
               for number, ages in enumerate(([()] * 2, [(-1,), (1,)], [(-1,), (-1,)]))}
    assert len(digests) == 1


def test_ages_that_do_not_fit_the_wires_are_refused(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    trace = traced(tmp_path, tiny_agent(), "world", [(0, 0)])
    with pytest.raises(TraceError, match="holds 2 ages per invocation of world, but 1 wires into it in the header"):
        sent_to(trace, "world")


def recorded(folder: Path, graph: Graph, ticks: int) -> Trace:
    write_header(folder, graph, seed=0)
    worker: Worker = begun(graph, recorder=TraceLog(folder / "trace" / "agent-0"))
    for tick in range(ticks):
        worker.fire(worker.nodes, tick)
    worker.close()
    return Trace.open(folder)


def test_the_worker_records_delays_slow_senders_and_no_cut_wires(tmp_path: Path) -> None:
    slow = recorded(tmp_path / "slow", toy_graph(head={"state": "eye.state", "calls": {"book": "book"}, "every": 2}), 5)
    assert sent_to(slow, "hand") == {"head.plan → hand.plan": [0, 0, 2, 2, 4]}
    assert sent_to(slow, "eye") == {"hand.action@-1 → eye.action": [-1, 0, 1, 2, 3]}
    assert sent_to(slow, "head") == {"eye.state → head.state": [0, 2, 4]}
    cut = recorded(tmp_path / "cut", toy_graph(hand={"plan": {"from": "head.plan", "cut": True}}), 2)
    assert sent_to(cut, "hand") == {}
    assert sent_to(cut, "eye") == {"hand.action@-1 → eye.action": [-1, 0]}
