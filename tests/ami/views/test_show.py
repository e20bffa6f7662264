import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ami.agent import Agent
from ami.errors import SettingError, TraceError, UnknownName
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace
from ami.views.show import BARS, _strip, show
from ami.views.tables import Tables


@pytest.fixture
def run(tiny_agent: Callable[..., Graph], tmp_path: Path) -> Path:
    """The tiny agent's first waves: two pairs in one room, then two across."""
    graph = tiny_agent(observe="state")
    folder = tmp_path / "run-7"
    write_header(folder, graph, seed=3)
    with Agent(LocalRuntime(graph, 3, recorder=TraceLog(folder / "trace" / "agent-0"))) as agent:
        for wave, episodes in Manifest.make(graph.drafts["world"], 5, 2).waves(2):
            for _ in rollout(agent, episodes, wave=wave):
                pass
    return folder


def shown(folder: Path, **what: object) -> list[str]:
    console = Console(file=io.StringIO(), width=110, highlight=False)
    show(folder, console=console, **what)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_overview_of_a_run(run: Path) -> None:
    trace = Trace.open(run)
    lines = shown(run)
    text = "\n".join(lines)
    assert lines[0].startswith(f"run run-7   seed 3   graph {trace.header['graph_hash']}")
    rows = [line.split() for line in lines if line.endswith(" %")]
    assert [row[0] for row in rows] == list(trace.tables)
    assert [row[1] for row in rows][:2] == ["GymWorld", "GoalPosition"]
    assert f"2 waves of {trace.waves[0]}, {trace.waves[1]} ticks" in text
    assert f"trace digest {trace.digest()}" in text
    assert "cut off" not in text


def test_a_run_is_shown_and_compared_without_pytorch(run: Path) -> None:
    commands = [["show", str(run), *words] for words in ([], ["--tick", "1"], ["--node", "actor"])]
    code = (f"import sys; from ami.cli.main import main; print([main(['trace', *words]) for words in "
            f"{[*commands, ['diff', str(run), str(run)], ['show', 'nowhere']]}], 'torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 0, 2] False"


def test_a_killed_run_is_reported(run: Path) -> None:
    path = run / "trace" / "agent-0" / "actor.0.arrow"
    path.write_bytes(path.read_bytes()[:-20])
    assert any("1 file was cut off in the middle of a record" in line for line in shown(run))


def test_an_incomplete_trace_has_no_digest(run: Path) -> None:
    path = run / "trace" / "agent-0" / "actor.0.arrow"
    path.write_bytes(path.read_bytes()[:-8])  # whole blocks, without the end that a closed log writes
    text = "\n".join(shown(run))
    assert "unfinished trace: trace/agent-0/actor.0.arrow: its process was killed or is still writing" in text
    assert "no trace digest: the trace is incomplete" in text and "trace digest " + Trace.open(run).digest() not in text
    for other in path.parent.glob("*.arrow"):
        other.write_bytes(other.read_bytes()[:-8])
    assert any(" and 6 more: its process was killed" in line for line in shown(run))


def test_a_full_disk_is_reported(run: Path) -> None:
    (run / "trace" / "agent-0" / "INCOMPLETE").write_text("the trace could not be written (No space left on device): …")
    assert any("the trace could not be written (No space left on device)" in line for line in shown(run))
    assert "no trace digest: the trace is incomplete" in shown(run)


def test_one_tick_is_a_tree_of_inputs_and_outputs(run: Path) -> None:
    lines = shown(run, tick=1)
    assert lines[0].startswith("wave 0, tick 1: 7 of 7 nodes fired, ")
    assert [line.split()[1] for line in lines if line.startswith(("├── ", "└── "))] == list(Trace.open(run).tables)
    planner = [line.split() for line in lines[next(i for i, line in enumerate(lines) if line.startswith("├── planner")):]]
    assert planner[0][1:3] == ["planner", "Steps"] and planner[0][-1] == "µs"
    assert planner[1] == ["│", "├──", "←", "state", "world_model.state@1"]
    assert planner[4][2:8] == ["→", "plan", "float32", "(2,", "3,", "2)"]
    assert planner[7][1:7] == ["└──", "→", "model_steps", "int64", "(2,)", "12"]
    assert any(line.split()[2:] == ["←", "action", "actor.action@0", "from", "an", "earlier", "tick"] for line in lines)


def test_one_node_of_one_tick(run: Path) -> None:
    lines = shown(run, tick=0, wave=1, node="actor")
    assert lines[0].startswith("wave 1, tick 0: 7 of 7 nodes fired")
    assert [line.split()[1] for line in lines if line.startswith(("├── ", "└── "))] == ["actor"]


def test_an_episode_is_a_strip_with_a_line_per_figure_and_module(run: Path) -> None:
    lines = shown(run, wave=1, row=1)
    length = Tables(Trace.open(run)).episodes.to_pandas().query("wave == 1 and row == 1")["steps"].item() + 1
    assert lines[0] == f"wave 1, world 1: {length} ticks"
    strips = {line.split()[0].rstrip(","): line for line in lines[2:] if line}
    assert strips["world.success"].split()[1] == "·" * (length - 1) + "█"
    assert strips["planner.model_steps"].split()[1:] == ["─" * length, "12"]
    energy = strips["planner.energy"].split()[1]
    assert len(energy) == length and set(energy) <= set(BARS) and energy[-1] == BARS[0], "the goal gets closer"
    assert "planner" in strips and "µs" in strips["planner"]


def test_a_refilled_row_is_a_strip_per_episode(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    graph = tiny_agent(observe="state")
    manifest = Manifest.make(graph.drafts["world"], 5, 2)
    manifest.save(tmp_path / "manifest.json")
    write_header(tmp_path, graph, seed=3)
    with Agent(LocalRuntime(graph, 3, recorder=TraceLog(tmp_path / "trace" / "agent-0"))) as agent:
        ((_, episodes),) = manifest.waves(4)
        for _ in rollout(agent, episodes, batch=2, refill=True):
            pass
    ends = [end for end in Tables.load(tmp_path).episodes.to_pylist() if end["row"] == 1]
    assert len({end["kind"] for end in ends}) == 2 and {end["wave"] for end in ends} == {0}
    lines = shown(tmp_path, row=1, node="actor")
    heads = [line for line in lines if line.startswith("wave 0, world 1, ")]
    starts = ["", *(f" from {end['first']} on" for end in ends[1:])]
    assert heads == [f"wave 0, world 1, episode {end['episode']}, {end['kind']}: {end['ticks']} ticks{start}"
                     for end, start in zip(ends, starts, strict=True)]
    assert sum(line.startswith("actor, µs") for line in lines) == len(ends)
    assert shown(tmp_path, where="tick >= 0")[0].endswith(", in 4 episodes")


def test_a_strip_of_one_module(run: Path) -> None:
    lines = [line.split()[0].rstrip(",") for line in shown(run, row=0, node="planner")[2:] if line]
    assert lines == ["planner.energy", "planner.model_steps", "planner"]


def test_large_numbers_are_written_out() -> None:
    assert _strip([18430.4, 0.25], each=1)[1].plain == "0.25 to 18,430"
    assert _strip([1_234_567.0], each=1)[1].plain == "1,234,567"


def test_a_long_strip_shows_the_highest_of_the_ticks_in_one_character() -> None:
    bars, values = _strip([0.0, 0.0, 8.0, 1.0, None, 4.0], each=2)
    assert bars.plain == "▁█▅" and values.plain == "0 to 8"
    assert _strip([False, True, False, False], each=2)[0].plain == "█·"


def test_ticks_are_found_by_a_condition(run: Path) -> None:
    episodes = Tables(Trace.open(run)).episodes.to_pandas()
    lines = shown(run, where="world.success and planner.energy < 100")
    assert lines[0] == f"world.success and planner.energy < 100: 4 of {(episodes['steps'] + 1).sum()} ticks, in 4 episodes"
    assert next(line.split() for line in lines if "tick" in line and "row" in line) == [
        "wave", "row", "tick", "kind", "world.success", "planner.energy"]
    found = [line.split() for line in lines if line.endswith("yes") or " yes " in line]
    assert [[int(text) for text in line[:3]] for line in found] == episodes[["wave", "row", "steps"]].to_numpy().tolist()
    assert "one of them: ami trace show " in "".join(lines)
    assert shown(run, where="success", wave=1)[0].startswith("success: 2 of ")
    none = shown(run, where="planner.energy > 1e9 and not success")
    assert none[0].startswith("planner.energy > 1e9 and not success: 0 of "), "the existing range is printed"
    energies = Tables(Trace.open(run)).ticks.to_pandas().query("live")["planner.energy"]
    assert none[2:] == [f"planner.energy: {energies.min():.4g} to {energies.max():.4g}", "world.success: no, yes"]


def test_one_node_over_time(run: Path) -> None:
    lines = shown(run, wave=1, node="planner")
    assert lines[0].startswith("planner (") and lines[0].endswith("conftest.Steps), wave 1")
    header = next(line.split() for line in lines if "energy" in line)
    assert header == ["tick", "µs", "plan", "imagined", "energy", "model_steps"]
    ticks = [line.split()[0] for line in lines if line.strip() and line.split()[0].isdigit()]
    assert ticks == [str(tick) for tick in range(Trace.open(run).waves[1])]


def test_the_version_of_published_weights_is_shown(run: Path, tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    graph, folder = tiny_agent(observe="state"), tmp_path / "published"
    write_header(folder, graph, seed=3)
    runtime = LocalRuntime(graph, 3, recorder=TraceLog(folder / "trace"))
    with Agent(runtime) as agent:
        agent.reset(torch.ones(2, dtype=torch.bool), Manifest.make(graph.drafts["world"], 5, 2).episodes()[:2])
        for version in (0, 0, 7):
            if version:
                runtime.publish(version, {})
            agent.cycle()
    rows = [line.split()[:3:2] for line in shown(folder, node="planner")[1:] if line.strip()]
    assert [row for row in rows if row[0].isdigit()] == [["0", "0"], ["1", "0"], ["2", "7"]]
    assert ["tick", "weights"] in rows
    branches = [line for line in shown(folder, tick=2) if line.startswith(("├── ", "└── "))]
    assert branches and all(line.endswith(" µs  weights version 7") for line in branches)
    assert not any("weights version" in line for line in shown(folder, tick=1)), "none were published yet"
    assert not any("weights" in line for line in shown(run, node="planner"))


def test_a_fork_can_be_shown(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    """The trace of `ami replay --fork` begins at the tick and in the wave of the fork."""
    folder = tmp_path / "fork"
    write_header(folder, tiny_agent(), seed=3)
    log = TraceLog(folder / "trace" / "fork")
    for tick in range(5, 8):
        for node in ("planner", "actor")[tick % 2:]:
            log.add(node, 2, tick, 1000 * tick, 1000 * tick + 500, {"port": torch.tensor([0.5 * tick])})
    log.close()
    assert " --tick 5 [--wave 2] [--node actor]" in " ".join(shown(folder))
    lines = shown(folder, node="planner")
    assert "), wave 2 tick " in " ".join(" ".join(lines).split())
    assert [line.split() for line in lines if line.strip()[:1].isdigit()] == [["6", "0", "3"]]
    assert [line.split()[0] for line in shown(folder, node="actor") if line.strip()[:1].isdigit()] == ["5", "6", "7"]


@pytest.mark.parametrize("what, error, words", [
    ({"tick": 999}, TraceError, r"run-7 holds no tick 999 in wave 0: expected 0 to \d+\. Fix: --tick \d+"),
    ({"wave": 9}, TraceError, r"run-7 holds no wave 9: expected 0 to 1\. Fix: --wave 1"),
    ({"node": "planer"}, UnknownName, r"unknown node 'planer': did you mean 'planner'\?"),
    ({"tick": 0, "node": "planer"}, UnknownName, r"unknown node 'planer': did you mean 'planner'\?"),
    ({"row": 9}, TraceError, r"run-7 holds no world 9 in wave 0: expected 0 to 1\. Fix: --row 1"),
    ({"row": 0, "tick": 0}, SettingError, "--tick and --row are given: expected one of them"),
    ({"where": "surprise > 3", "node": "planner"}, SettingError, "--node planner has no effect with --where: .* Fix"),
    ({"where": "surprise > 3", "wave": 9}, TraceError, "holds no wave 9")])
def test_unknown_names_and_numbers_are_refused(run: Path, what: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        shown(run, **what)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"holds no run: expected a folder with header\.json"):
        shown(tmp_path)


@pytest.mark.parametrize("word", ["[/x]", "[red]", ":smile:"])
def test_user_text_is_printed_unchanged(run: Path, word: str) -> None:
    assert shown(run, where=f"kind == '{word}'")[0].startswith(f"kind == '{word}': 0 of ")
    manifest = Manifest("two_rooms", {}, 0, tuple({"kind": word, "seed": number} for number in range(4)))
    manifest.save(run / "manifest.json")
    header = json.loads((run / "header.json").read_text())
    (run / "header.json").write_text(json.dumps({**header, "config": {"evaluation": {"batch": 2}}}))
    lines = shown(run, where=f"kind == '{word}'")
    assert sum(line.split()[3:] == [word] for line in lines) > 5
    assert shown(run, row=0)[0].startswith(f"wave 0, world 0, {word}: ")


def test_a_slow_node_shows_its_rate_and_its_ticks(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    graph = tiny_agent()
    graph.every["planner"] = 4
    write_header(tmp_path, graph, seed=0)
    log = TraceLog(tmp_path / "trace" / "agent-0")
    for tick in range(6):
        log.add("actor", 0, tick, 20 * tick, 20 * tick + 5, {"action": torch.zeros(1, 2)})
        if tick % 4 == 0:
            log.add("planner", 0, tick, 20 * tick, 20 * tick + 5, {"energy": torch.ones(1)})
    log.close()
    assert [line.split()[2:5] for line in shown(tmp_path) if line.startswith((" actor", " planner"))] == [
        ["4", "ticks", "2"], ["1", "tick", "6"]]
    assert "planner  Steps  0 µs  every 4 ticks" in "\n".join(shown(tmp_path, tick=4))
    assert "planner.energy  ─   ─   1" in shown(tmp_path, row=0)
