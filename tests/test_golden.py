"""Golden traces: the first ticks of three agents. They detect every change of an agent's behaviour.

Accept an intended change with `python -m pytest tests/test_golden.py --accept-golden`, and describe it in CHANGELOG.md.
With the processor and versions of the record every message must be bitwise equal; elsewhere its statistics must agree within
a tolerance, since processors and libraries round differently.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ami
from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import to_graph
from ami.runtime.local import LocalRuntime
from ami.trace.header import versions, write_header
from ami.trace.log import TraceLog
from ami.trace.node_file import STATISTICS
from ami.trace.provenance import processor
from ami.trace.reader import Trace

GOLDEN = Path(__file__).parent / "golden"
TICKS, WORLDS, SEED = 4, 2, 7
TOLERANCE = 1e-3
AGENTS = {
    "two_rooms": [],
    "gate": ["configurator=surprise_gate", "actor=policy", "memory=short_term", "cost=effort", "planner=icem"],
    "cartpole": ["world=gym", "world.id=CartPole-v1", "perception=vector", "memory=none", "goal=none", "cost=reward",
                 "world_model.anti_collapse=none", "world_model.rewards=true", "planner=categorical"],
}


def recorded(name: str, folder: Path) -> dict[str, Any]:
    """Return the first ticks of an agent with initial weights: by tick and port, the message's hash and its figures."""
    torch.set_num_threads(1)
    graph = to_graph(ami.compose(AGENTS[name]))
    write_header(folder, graph, seed=SEED)
    log = TraceLog(folder / "trace" / "agent-0")
    with Agent(LocalRuntime(graph, SEED, recorder=log)) as agent:
        agent.reset(torch.ones(WORLDS, dtype=torch.bool), [Episode(row, 100 + row) for row in range(WORLDS)])
        for _ in range(TICKS):
            agent.cycle()
    log.close()
    trace = Trace.open(folder)
    messages: dict[str, Any] = {}
    for node, table in trace.tables.items():
        for row in table.to_pylist():
            for port in trace.ports[node]:
                figures = row.get(f"{port}.rows") or [row[f"{port}.{one}"] for one in STATISTICS if f"{port}.{one}" in row]
                messages[f"{row['tick']} {node}.{port}"] = [row[f"{port}.hash"].hex(), figures]
    return {"made_on": {"processor": processor(), **versions(("torch", "numpy", "gymnasium"))}, "messages": messages}


@pytest.mark.parametrize("name", AGENTS)
def test_golden_trace_unchanged(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    now, file = recorded(name, tmp_path), GOLDEN / f"{name}.json"
    if request.config.getoption("--accept-golden"):
        file.parent.mkdir(exist_ok=True)
        lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in now["messages"].items())
        file.write_text(f'{{\n  "made_on": {json.dumps(now["made_on"])},\n  "messages": {{\n{lines}\n  }}\n}}\n')
    then = json.loads(file.read_text())
    assert list(now["messages"]) == list(then["messages"]), "other messages are sent"
    exact = now["made_on"] == then["made_on"]
    for key, (was_hash, was) in then["messages"].items():
        is_hash, figures = now["messages"][key]
        if exact:
            assert is_hash == was_hash, f"{name}, {key}: {was} then, {figures} now"
        elif was and None not in was:
            assert figures == pytest.approx(was, rel=TOLERANCE, abs=TOLERANCE), f"{name}, {key}"
