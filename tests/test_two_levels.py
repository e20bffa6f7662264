"""An agent of two levels, from its config to files: evaluated, replayed, forked, swapped, shown, and refilled row by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

import ami.session.evaluation
from ami.agent import Agent
from ami.blueprint import Episode, Planner, WorldModel
from ami.cli.main import main
from ami.config.compose import compose, to_graph
from ami.replay.fork import fork
from ami.replay.recording import Recording
from ami.replay.reexecute import reexecute
from ami.replay.substitute import swap
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.session.learn import learn
from ami.trace.reader import Trace

HOME = Path(__file__).parent.parent
RUN = ["agent=two_levels", "runtime=local", "trace.level=boundary", "evaluation.pairs=3", "evaluation.batch=2",
       "evaluation.baselines=[]", "evaluation.video=0", "planner.num_candidates=16", "planner.num_elites=4",
       "upper_planner.num_candidates=16", "upper_planner.num_elites=4", "world.max_episode_steps=20"]


def run(store: Path) -> Path:
    assert main(["run", *RUN, f"store={store}"]) == 0
    (folder,) = store.glob("2*")
    return folder


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("waves"))


@pytest.fixture(scope="module")
def refilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same evaluation, whose rows begin new episodes while others continue."""
    with pytest.MonkeyPatch.context() as patched:
        evaluate: Callable[..., Any] = ami.session.evaluation.evaluate
        patched.setattr(ami.session.evaluation, "evaluate", partial(evaluate, refill=True))
        yield run(tmp_path_factory.mktemp("refilled"))


def test_its_config_has_15_lines() -> None:
    assert len((HOME / "configs" / "agent" / "two_levels.yaml").read_text().splitlines()) <= 15


def test_its_graph_has_two_nodes_of_each_role(waves: Path) -> None:
    graph = Recording.open(waves).graph
    assert graph.nodes_of(Planner) == ("upper_planner", "planner") and len(graph.nodes_of(WorldModel)) == 2
    assert graph.every["upper_planner"] == 4


def test_the_steps_of_both_planners_are_summed(waves: Path) -> None:
    trace, steps, decisions = Trace.open(waves), 0, 0
    for node, every in (("planner", 1), ("upper_planner", 4)):
        table = trace.table(node)
        columns = (table[name].to_pylist() for name in ("wave", "tick", "model_steps.rows"))
        for wave, tick, values in zip(*columns, strict=True):
            over = [bool(a or b) for a, b in zip(*(
                trace.message("world", flag, wave, tick).tolist() for flag in ("terminated", "truncated")), strict=True)]
            steps += sum(int(value) for value, ended in zip(values, over, strict=True) if not ended)
            decisions += (every == 1) * over.count(False)
    summary = json.loads((waves / "summary.json").read_text())
    assert summary["model_steps_per_plan"] == pytest.approx(steps / decisions)


@pytest.mark.parametrize("name", ["waves", "refilled"])
def test_it_is_replayed_and_forked_identically(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    recording = Recording.open(request.getfixturevalue(name))
    found = reexecute(recording, tmp_path / "replay")
    assert found.first is None and found.ticks == sum(recording.ticks.values())
    wave, ticks = max(recording.ticks.items(), key=lambda entry: entry[1])
    for tick in (3, ticks // 2, ticks - 2):
        done = fork(recording, wave, tick, [], tmp_path / f"fork-{tick}")
        assert done.recorded == done.forked and done.fresh == (), f"at tick {tick}"


def test_a_refilled_run_has_the_outcomes_of_the_waves(waves: Path, refilled: Path) -> None:
    outcomes = [json.loads((folder / "summary.json").read_text())["agent"] for folder in (waves, refilled)]
    assert outcomes[0] == outcomes[1]
    recording = Recording.open(refilled)
    begun = [recording.begun(wave, tick) for wave, ticks in recording.ticks.items() for tick in range(1, ticks)]
    assert any(begun), "no row was refilled"
    assert sum(recording.ticks.values()) < sum(Recording.open(waves).ticks.values())


@pytest.mark.parametrize(("override", "nodes"), [
    ("upper_planner._target_=modules.planner.mppi.MPPI", ("upper_planner", "subgoal", "planner", "actor")),
    ("planner=random_shooting", ("planner", "actor"))])
def test_either_planner_is_swapped(waves: Path, tmp_path: Path, override: str, nodes: tuple[str, ...]) -> None:
    idle = [f"~{override.split('.')[0].split('=')[0]}.num_elites"]
    found = swap(Recording.open(waves), [override, *idle], tmp_path / "swap")
    assert found.nodes == nodes and found.moments
    assert (found.incomparable is None) == (nodes[0] == "planner"), "energies to other subgoals are not comparable"


@pytest.mark.parametrize("agent", ["hwm", "hjepa"])
def test_a_learnt_level_2_sets_the_goal_of_level_1_every_8_ticks(agent: str) -> None:
    graph = to_graph(compose([f"agent={agent}"]))
    ports = ("subgoal.goal", "subgoal.action", "planner.model_steps", "level2.model_steps", "goal.goal")
    with Agent(LocalRuntime(graph, watch=ports)) as acting:
        goals = [{port: step.outputs[port].clone() for port in ports}
                 for step in islice(rollout(acting, [Episode(0, seed=0), Episode(1, seed=1)]), 10)]
    assert all(torch.equal(goals[0]["subgoal.goal"], later["subgoal.goal"]) for later in goals[:8])
    assert not torch.equal(goals[7]["subgoal.goal"], goals[8]["subgoal.goal"])
    assert goals[0]["subgoal.goal"].shape == goals[0]["goal.goal"].shape
    assert goals[0]["subgoal.action"].abs().max() <= 1


@pytest.mark.parametrize("agent", ["hwm", "hjepa"])
def test_a_level_2_learns_in_a_stage_of_its_own(agent: str, tmp_path: Path) -> None:
    short = [f"learning.stages.{stage}.steps=2" for stage in ("model", "critic", "level2")]
    trained = learn(compose([f"agent={agent}", *short, "learning.collect.episodes=4", "learning.collect.batch=2",
                             "runtime=local", f"store={tmp_path}"]))
    assert "level2_model" in trained.weights
    assert {row["stage"] for row in trained.rows} == {"model", "critic", "level2"}
