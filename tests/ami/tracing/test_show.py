import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ami.agent import Agent
from ami.errors import TraceError, UnknownName
from ami.evaluation.manifest import Manifest
from ami.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.tracing.header import write_header
from ami.tracing.log import TraceLog
from ami.tracing.reader import Trace
from ami.tracing.show import show


@pytest.fixture
def run(tiny_mind: Callable[..., Graph], tmp_path: Path) -> Path:
    """The tiny mind's first waves: two pairs in one room, then two across."""
    graph = tiny_mind(observe="state")
    folder = tmp_path / "run-7"
    write_header(folder, graph, seed=3)
    with Agent(LocalRuntime(graph, 3, recorder=TraceLog(folder / "trace" / "agent-0"))) as agent:
        for wave, episodes in Manifest.make(graph.drafts["world"], 5, 2).waves(2):
            for _ in agent.live(episodes, wave):
                pass
    return folder


def shown(folder: Path, **what: object) -> list[str]:
    console = Console(file=io.StringIO(), width=110, highlight=False)
    show(folder, console=console, **what)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_run_at_a_glance(run: Path) -> None:
    trace = Trace.open(run)
    lines = shown(run)
    text = "\n".join(lines)
    assert lines[0].startswith(f"run run-7   seed 3   graph {trace.header['graph_hash']}")
    rows = [line.split() for line in lines if line.endswith(" %")]
    assert [row[0] for row in rows] == list(trace.tables)
    assert [row[1] for row in rows][:2] == ["GymWorld", "Wish"]
    assert f"2 waves of {trace.waves[0]}, {trace.waves[1]} ticks" in text
    assert f"trace digest {trace.digest()}" in text
    assert "cut off" not in text


def test_a_killed_run_says_what_was_lost(run: Path) -> None:
    path = run / "trace" / "agent-0" / "actor.0.arrow"
    path.write_bytes(path.read_bytes()[:-20])
    assert any("1 file was cut off in the middle of a record" in line for line in shown(run))


def test_a_run_whose_disk_was_full_says_so(run: Path) -> None:
    (run / "trace" / "agent-0" / "INCOMPLETE").write_text("the trace could not be written (No space left on device): …")
    assert any("the trace could not be written (No space left on device)" in line for line in shown(run))


def test_one_tick_shows_what_every_node_was_given_and_said(run: Path) -> None:
    lines = shown(run, tick=1)
    assert lines[0].startswith("wave 0, tick 1: 7 of 7 nodes fired, ")
    assert [line.split()[0] for line in lines[2:] if line and not line.startswith(" ")] == list(Trace.open(run).tables)
    planner = lines[next(i for i, line in enumerate(lines) if line.startswith("planner")):]
    assert planner[0].split()[:2] == ["planner", "Steps"] and planner[0].endswith("µs")
    assert planner[1].split() == ["←", "state", "world_model.state@1"]
    assert planner[4].split()[:6] == ["→", "plan", "float32", "(2,", "3,", "2)"]
    assert planner[7].split()[:5] == ["→", "model_steps", "int64", "(2,)", "12"]
    assert any(line.split()[:3] == ["←", "action", "actor.action@0"] and "from an earlier tick" in line for line in lines)


def test_one_node_of_one_tick(run: Path) -> None:
    lines = shown(run, tick=0, wave=1, node="actor")
    assert lines[0].startswith("wave 1, tick 0: 7 of 7 nodes fired")
    assert [line.split()[0] for line in lines[2:] if line and not line.startswith(" ")] == ["actor"]


def test_one_node_over_time(run: Path) -> None:
    lines = shown(run, wave=1, node="planner")
    assert lines[0].startswith("planner (") and lines[0].endswith("conftest.Steps), wave 1")
    header = next(line.split() for line in lines if "energy" in line)
    assert header == ["tick", "µs", "plan", "imagined", "energy", "model_steps"]
    ticks = [line.split()[0] for line in lines if line.strip() and line.split()[0].isdigit()]
    assert ticks == [str(tick) for tick in range(Trace.open(run).waves[1])]


@pytest.mark.parametrize("what, error, words", [
    ({"tick": 999}, TraceError, r"run-7 holds no tick 999 in wave 0: expected 0 to \d+\. Cure: --tick \d+"),
    ({"wave": 9}, TraceError, r"run-7 holds no wave 9: expected 0 to 1\. Cure: --wave 1"),
    ({"node": "planer"}, UnknownName, r"unknown node 'planer': did you mean 'planner'\?"),
    ({"tick": 0, "node": "planer"}, UnknownName, r"unknown node 'planer': did you mean 'planner'\?")])
def test_what_is_not_there_is_refused(run: Path, what: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        shown(run, **what)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"holds no run: expected a folder with header\.json"):
        shown(tmp_path)
