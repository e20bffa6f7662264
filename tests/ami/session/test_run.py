"""`ami run` end to end: files on disk, agreement of runtimes, refused configs, and the state after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import ami
from ami.cli.main import main
from ami.config.compose import compose_baseline, to_graph
from ami.envs import world
from ami.envs.make import make_rows
from ami.errors import GraphError, PortError, SettingError, TraceError, UnknownName
from ami.evaluation.manifest import Manifest
from ami.learning.learning_log import read_rows
from ami.replay.recording import Recording
from ami.saved.agent_file import open_trained
from ami.session.baselines import _check_trained, baselines, shared_weights
from ami.session.checks import without_effect
from ami.session.evaluation import judged_graph, seal
from ami.terminal.console import Console
from ami.trace.reader import Trace
from tests.support.notes import Notes

LEARNING = ["learning.collect.episodes=12", "learning.collect.batch=12", "learning.stages.model.steps=20",
         "learning.stages.model.batch=8", "learning.stages.critic.steps=20", "learning.stages.critic.batch=8",
         "validation.pairs=1"]
SMALL = [*LEARNING, "evaluation.pairs=2", "evaluation.batch=2", "evaluation.video=1"]
NO_VIDEO = [*LEARNING, "evaluation.pairs=2", "evaluation.batch=2", "evaluation.video=0"]
NAMES = ("agent", "random", "straight_line", "oracle", "untrained")
KINDS = ("same_room", "across")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one run from the command line."""
    place = tmp_path_factory.mktemp("story")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "make_rows", counted)
        assert main(["run", *SMALL, "runtime=local", f"store={place}", f"hydra.run.dir={place / 'run'}"]) == 0
    return place


MADE: list[dict[str, int]] = []


def counted(env_id: str, num_envs: int, *how: Any) -> Any:
    """Make environments as `make_rows` does, and count them and how often they are closed."""
    rows = make_rows(env_id, num_envs, *how)
    entry, close = {"num_envs": num_envs, "closed": 0}, rows.close

    def closed() -> None:
        entry["closed"] += 1
        close()

    rows.close = closed  # type: ignore[method-assign]
    MADE.append(entry)
    return rows


def test_a_run_makes_few_worlds_and_closes_them_all(folder: Path) -> None:
    made = [entry for entry in MADE if entry["num_envs"]]
    assert 2 <= len(made) <= 6, made
    assert all(entry["closed"] == 1 for entry in made), made


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run" / "summary.json").read_text())
    return content


def test_summary_has_the_documented_fields(folder: Path) -> None:
    figures = summary(folder)
    for name in NAMES:
        assert set(figures[name]) == set(KINDS)
        for kind in KINDS:
            assert {"n", "success", "low", "high"} <= set(figures[name][kind])
            assert figures[name][kind]["n"] == 2
            assert 0 <= figures[name][kind]["low"] <= figures[name][kind]["success"] <= figures[name][kind]["high"] <= 1
    assert figures["model_steps_per_plan"] == 256
    assert figures["ms_per_decision"] > 0 and figures["learning_seconds"] > 0 and figures["seed"] == 0
    assert len(figures["trace_digest"]) == 64
    assert figures["manifest_hash"] == Manifest.load(folder / "run" / "manifest.json").hash


def test_every_file_exists_and_none_is_temporary(folder: Path) -> None:
    names = {path.name for path in (folder / "run").iterdir()}
    assert names >= {"summary.json", "manifest.json", "header.json", "trace", "results.png", "learning.png", "episodes.gif",
                     "mlflow.json"}
    assert not list(folder.rglob("*.tmp")) and not list(folder.rglob("progress.safetensors"))
    assert (folder / "mlflow.db").exists()


def test_a_run_is_logged_and_validated_during_learning(folder: Path) -> None:
    rows = read_rows(folder / "run")
    assert {row["stage"] for row in rows} == {"model", "critic"} and all("loss" in row or "success" in row for row in rows)
    checked = [row for row in rows if "success" in row]
    assert [(row["stage"], row["step"]) for row in checked] == [("model", 20.0), ("critic", 20.0)], "each stage's end"
    assert any("error_vs_persistence" in row for row in rows)
    best = open_trained(folder / "run" / "best.safetensors", to_graph(ami.compose([*SMALL, f"store={folder}"])))
    assert set(best.weights) == set(open_trained(folder / "run", to_graph(ami.compose([*SMALL]))).weights)


def test_plots_and_video_can_be_remade(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ("results.png", "learning.png", "episodes.gif")
    before = {name: (folder / "run" / name).read_bytes() for name in made}
    for name in made:
        (folder / "run" / name).unlink()
    assert main(["plot", str(folder / "run")]) == 0
    assert f"wrote {folder / 'run' / 'results.png'}\n" in capsys.readouterr().out
    assert (folder / "run" / "episodes.gif").read_bytes() == before["episodes.gif"], "the same episodes"
    assert all((folder / "run" / name).exists() for name in made)


def test_plotting_a_folder_without_a_finished_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(tmp_path)]) == 2
    assert "holds no run: expected a folder with header.json" in capsys.readouterr().err


def test_files_are_readable_by_their_user_only(folder: Path) -> None:
    for path in (folder / "run").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"


def test_trace_digest_is_in_the_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Trace.open(folder / "run").digest() == summary(folder)["trace_digest"]
    assert main(["trace", "show", str(folder / "run"), "--tick", "1"]) == 0
    shown = capsys.readouterr().out
    assert all(node in shown for node in ("world", "perception", "world_model", "planner", "actor"))


def test_a_second_run_skips_learning_and_two_agents_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = folder / "again"
    assert main(["run", *NO_VIDEO, "runtime=local", "agents=2", "evaluation.baselines=[]", f"store={folder}",
                 f"hydra.run.dir={again}"]) == 0
    assert "learning skipped" in capsys.readouterr().out
    assert sorted(path.name for path in (again / "trace").iterdir()) == ["agent-0", "agent-1"]
    figures = json.loads((again / "summary.json").read_text())
    assert figures["trace_digest"] == summary(folder)["trace_digest"]
    assert figures["agent"] == summary(folder)["agent"]


def test_two_ray_agents_agree_with_the_local_run(folder: Path) -> None:
    config = ami.compose([*NO_VIDEO, "runtime=ray", "placement=agent", "agents=2", "evaluation.baselines=[]",
                          f"store={folder}"])
    run = ami.run(config, folder / "ray")
    assert run.summary["trace_digest"] == summary(folder)["trace_digest"]
    assert run.summary["agent"] == summary(folder)["agent"]


def test_baselines_evaluated_in_another_process_agree_with_the_local_run(folder: Path) -> None:
    names = [name for name in summary(folder) if name in ("random", "untrained")]
    config = ami.compose([*NO_VIDEO, "runtime=ray", "placement=agent", f"evaluation.baselines=[{','.join(names)}]",
                          f"store={folder}"])
    run = ami.run(config, folder / "ray with baselines")
    assert names and all(run.summary[name] == summary(folder)[name] for name in names)
    logged = [json.loads(line) for line in (run.folder / "outcomes.jsonl").read_text().splitlines()]
    assert {row["agent"] for row in logged} == {"agent", *names}
    assert len(logged) == (1 + len(names)) * len(run.evaluations["agent"].outcomes)


def test_a_folder_that_holds_a_run_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *SMALL, "runtime=local", f"store={folder}", f"hydra.run.dir={folder / 'run'}"]) == 2
    assert "holds a run already. Fix: another folder" in capsys.readouterr().err


def test_python_api_and_command_line_agree(folder: Path) -> None:
    config = ami.compose([*SMALL, "runtime=local", "evaluation.baselines=[random]", f"store={folder}"])
    run = ami.run(config, folder / "python")
    assert run.trained.cached
    assert run.summary["trace_digest"] == summary(folder)["trace_digest"]
    assert run.table().row_count == 2


def test_built_agent_runs(folder: Path) -> None:
    import torch

    with ami.build(ami.compose()) as agent:
        pairs = Manifest.load(folder / "run" / "manifest.json").episodes()
        agent.reset(torch.ones(2, dtype=torch.bool), pairs[:2])
        assert agent.cycle()["world.success"].shape == (2,)


def test_a_wrong_manifest_hash_is_refused_before_learning(tmp_path: Path) -> None:
    config = ami.compose([*SMALL, "runtime=local", "evaluation.manifest_hash=0000", f"store={tmp_path}"])
    with pytest.raises(SettingError, match=r"evaluation\.manifest_hash is 0000"):
        ami.run(config, tmp_path / "run")
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_leaves_whole_records_and_no_process(folder: Path, stop: signal.Signals) -> None:
    place = folder / f"stopped-{stop.name}"
    command = [sys.executable, "-m", "ami", "run", *LEARNING, "evaluation.pairs=200", "evaluation.batch=10",
               "placement=agent", "evaluation.baselines=[]", f"store={folder}", f"hydra.run.dir={place}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    started: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 120
        while sum(path.stat().st_size for path in place.glob("trace/agent-0/*.arrow")) < 50_000:
            assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
            assert time.monotonic() < deadline, "no trace appeared"
            time.sleep(0.02)
        started = _descendants(process.pid)
        assert started, "the run started no Ray process"
        os.kill(process.pid, stop)
        process.wait(60)
        said = process.stderr.read().decode() if process.stderr else ""
        if process.stderr:
            process.stderr.close()
        while stop is signal.SIGINT and _alive(started):  # after a kill -9 Ray's own processes take a minute to notice
            assert time.monotonic() < deadline, f"left behind: {_alive(started)}"
            time.sleep(0.1)
    finally:
        for left in [process, *started]:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait()
    trace = Trace.open(place)
    assert trace.waves and all(table.num_rows for table in trace.tables.values())
    assert not (place / "summary.json").exists()
    if stop is signal.SIGINT:
        assert process.returncode == 130
        assert "stopped by Ctrl-C" in said and "Traceback" not in said


def _descendants(pid: int) -> list[psutil.Process]:
    return list(psutil.Process(pid).children(recursive=True))


def _alive(processes: list[psutil.Process]) -> list[str]:
    names = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                names.append(f"{process.pid} {process.name()}")
        except psutil.NoSuchProcess:
            continue
    return names


def test_an_agent_that_cannot_run_is_refused_before_learning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "short_plans.py").write_text(
        "from modules.planner.cem import CEM\n\n\nclass Short(CEM):\n    def step(self, **inputs):\n"
        "        sent = super().step(**inputs)\n        return {**sent, 'plan': sent['plan'][:, :1]}\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = ami.compose([*SMALL, "runtime=local", f"store={tmp_path}", "planner._target_=short_plans.Short"],
                         allow=["short_plans."])
    with pytest.raises(PortError, match=r"planner\.plan gave the shape \(1, 1, 2\): expected \(1, 4, 2\)"):
        ami.run(config)
    assert not (tmp_path / "trained").exists()


def test_a_baseline_incompatible_with_the_agents_planner_is_left_out_with_a_warning(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder / "gradient"
    assert main(["run", *NO_VIDEO, "runtime=local", "planner=gradient", "evaluation.baselines=[random, oracle]",
                 f"store={folder}", f"hydra.run.dir={run}"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "warning: left out of the baselines, oracle: GradientDescent needs the energy's gradient" in printed
    assert "evaluation.baselines=[random]" in printed
    figures = json.loads((run / "summary.json").read_text())
    assert "random" in figures and "oracle" not in figures and figures["model_steps_per_plan"] == 128


class Noting(Console):
    """A console that keeps its notes."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_baselines_that_cannot_act_in_a_foreign_world_are_left_out_in_one_line(tmp_path: Path) -> None:
    console = Noting()
    config = ami.compose(["experiment=pendulum", "runtime=local", f"store={tmp_path}", "evaluation.pairs=1",
                          "evaluation.baselines=[random, straight_line, oracle, untrained]"])
    graph = judged_graph(config)
    found = baselines(config, graph, seal(config, graph), console)
    assert list(found) == ["random", "untrained"]
    (line,) = console.lines
    assert "left out of the baselines, straight_line and oracle: world: Pendulum-v1 has no setting 'observe'" in line
    assert line.endswith("evaluation.baselines=[random,untrained]")
    with pytest.raises(UnknownName, match="unknown agent 'orcle': did you mean 'oracle'"):
        baselines(ami.compose(["evaluation.baselines=[orcle]"]), graph, seal(config, graph), console)


def test_a_baseline_with_an_untrained_network_is_left_out_before_learning(tmp_path: Path) -> None:
    console = Noting()
    config = ami.compose(["experiment=mode1", "actor.hidden=64", f"store={tmp_path}", "evaluation.pairs=1",
                          "evaluation.baselines=[random, teacher, apprentice, oracle]"])
    graph = judged_graph(config)
    assert list(baselines(config, graph, seal(config, graph), console)) == ["random", "teacher"]
    (line,) = console.lines
    assert line == ("warning: left out of the baselines, apprentice and oracle: its actor would run untrained, with other "
                    "settings or sizes than the agent's. Fix to silence this: evaluation.baselines=[random,teacher]")


def test_a_baseline_may_be_untrained_if_nothing_learns() -> None:
    config = ami.compose(["agent=apprentice", "actor.hidden=64", "learning=none"])
    baseline = to_graph(compose_baseline(config, "apprentice"))
    _check_trained(config, baseline, judged_graph(config))
    with pytest.raises(SettingError, match="its actor would run untrained"):
        _check_trained(ami.compose([*config.overrides, "checkpoint=here"]), baseline, judged_graph(config))


def test_a_baseline_takes_the_weights_of_the_modules_that_it_keeps() -> None:
    config = ami.compose(["experiment=mode1", "actor.hidden=64"])
    graph = judged_graph(config)
    weights = {"actor": {"x": torch.zeros(1)}, "perception": {"x": torch.zeros(1)}}
    taken = {name: set(shared_weights(weights, to_graph(compose_baseline(config, name)), graph))
             for name in ("random", "teacher", "apprentice")}
    assert taken == {"random": set(), "teacher": {"actor", "perception"}, "apprentice": {"perception"}}


def test_an_invalid_metric_is_refused_before_learning(tmp_path: Path) -> None:
    config = ami.compose([*SMALL, "runtime=local", f"store={tmp_path}", "evaluation.metrics=[cost.enrgy]"])
    with pytest.raises(SettingError, match="but cost has no output 'enrgy': did you mean 'energy'"):
        ami.run(config)
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize("setting", ["trace.level=full", "trace.ports=[planner.plan]"])
def test_reports_a_setting_of_a_trace_that_is_not_recorded(setting: str) -> None:
    config = ami.compose(["runtime=ray", "trace.record=false", setting])
    assert without_effect(config) == [f"{setting} has no effect with trace.record=false: nothing is recorded"]


REWARD_TERM = "+cost.intrinsic.reward._target_=modules.cost.reward.Reward"
ONE_TERM = ["+cost2._target_=modules.cost.weighted_sum.WeightedSum", "graph.planner.calls.cost=cost2",
            "+cost2.intrinsic.distance._target_=modules.cost.goal_distance.GoalDistance",
            "+graph.cost2={state: world_model.state, goal: goal.goal, calls: {world_model: world_model}}"]


@pytest.mark.parametrize(("settings", "error", "words"), [
    (["+perception2._target_=modules.perception.pixels.Pixels", "+graph.perception2={observation: world.observation}",
      "learning.stages.model.train=[perception, world_model, perception2]"], SettingError,
     "learning.stages.critic.source needs one perception, but 2 of them learn here: perception, perception2. "
     "Fix: learning.stages.critic.source.perception=perception"),
    ([REWARD_TERM, "world_model.rewards=true"], SettingError,
     "cost.intrinsic needs the reward of states without one: the world model does not predict rewards, a critic "
     "learns from pairs of states, or a memory keeps imagined ones. Fix: world_model.rewards=true, or in a model of your "
     "own `reward` in the Prediction that imagine returns; the critic modules.cost.value.Value; memory=episodic"),
    (ONE_TERM, GraphError, "wrong shape along the call planner ⇄ cost2: planner has W = 2, not 1. Fix: ")],
    ids=["a critic with two perceptions", "goal plus reward", "costs with other numbers of weights"])
def test_a_config_that_cannot_learn_is_refused_before_learning(
        settings: list[str], error: type[Exception], words: str, tmp_path: Path) -> None:
    config = ami.compose([*NO_VIDEO, "runtime=local", "evaluation.baselines=[]", f"store={tmp_path}",
                          *settings])
    with pytest.raises(error) as refused:
        ami.run(config, tmp_path / "run")
    assert words in str(refused.value)
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} <= {"manifest.json"}


def test_model_steps_of_two_planners_are_summed(tmp_path: Path) -> None:
    few = {"horizon": 4, "num_candidates": 8, "num_elites": 2, "num_iterations": 1}
    own = [f"planner.{name}={value}" for name, value in few.items()]
    second = few | {"_target_": "modules.planner.cem.CEM", "num_candidates": 16}
    wires = ("state: world_model.state, goal: goal.goal, mode: configurator.mode, weights: configurator.weights, every: 2, "
             "calls: {world_model: world_model, cost: cost}")
    config = ami.compose(["learning=none", "runtime=local", "trace.record=false", "evaluation.pairs=1", "evaluation.batch=1",
                          "world.max_episode_steps=7",
                          "evaluation.video=0", "evaluation.baselines=[]", f"store={tmp_path}", *own,
                          *(f"+planner2.{name}={value}" for name, value in second.items()),
                          f"+graph.planner2={{{wires}}}"])
    done = ami.run(config, tmp_path / "run")
    found = done.evaluations["agent"]
    decided = [outcome.steps for outcome in found.outcomes]
    assert found.decisions == sum(decided)
    assert found.model_steps == sum(steps * 8 * 4 + (steps + 1) // 2 * 16 * 4 for steps in decided)
    assert done.summary["model_steps_per_plan"] == found.model_steps / found.decisions


def test_a_disk_that_refuses_the_summary_costs_the_file_and_not_the_table(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("ami.session.run.write_json", full)
    assert main(["run", "agent=oracle", "runtime=local", "evaluation.pairs=1", "evaluation.baselines=[]",
                 "evaluation.video=0", f"store={tmp_path}", f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    printed = capsys.readouterr()
    assert "model" in printed.out and "agent" in printed.out
    assert printed.err.startswith("ami: [Errno 28] No space left on device: '") and "summary.json" in printed.err


def test_a_pruned_run_has_the_same_outcomes_and_says_what_did_not_fire(tmp_path: Path) -> None:
    given = ["learning=none", "runtime=local", "evaluation.pairs=2", "evaluation.batch=2", "evaluation.baselines=[]",
             "evaluation.video=0", "planner.num_candidates=8", "planner.num_elites=2", "planner.num_iterations=1",
             "world.max_episode_steps=5", "trace.level=boundary", f"store={tmp_path}"]
    notes = {True: Notes(), False: Notes()}
    whole, pruned = (ami.run(ami.compose([*given, f"prune={prune}"]), tmp_path / str(prune), notes[prune])
                     for prune in (False, True))
    assert whole.evaluations["agent"].outcomes == pruned.evaluations["agent"].outcomes
    assert set(whole.trace().tables) - set(pruned.trace().tables) == {"cost", "memory"}
    said = "no action depends on cost and memory: they "
    assert f"{said}fire for the trace alone; prune=true leaves them out" in notes[False].notes
    assert f"{said}do not fire (prune=true)" in notes[True].notes
    with pytest.raises(TraceError, match="was recorded with prune=true, so cost, memory did not fire"):
        Recording.open(pruned.folder)
