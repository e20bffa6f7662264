"""Learning while acting: acting and learning take turns at a fixed ratio; a kill or another runtime changes nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch

import ami
from ami.config.compose import Config, to_graph
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import AmiError
from ami.learning.acted import VERSION, Wave
from ami.learning.stage_run import StageRun
from ami.session.learn import check, learn
from ami.session.plan import TrainingPlan
from ami.trace.invocation import history
from ami.trace.reader import Trace

SMALL = ["experiment=pendulum", "learning.collect.episodes=3", "learning.collect.batch=3", "learning.collect.steps=9",
         "learning.rounds=1", "learning.stages.model.steps=12", "learning.stages.critic.steps=24", "learning.save_every=4",
         "learning.stages.model.batch=8", "learning.stages.critic.batch=8", "planner.num_candidates=8", "runtime=local",
         "validation.every=0", "+learning.online={replay_ratio: 0.25, batch: 2}"]
STEPS, RATIO, BATCH, LONGEST = 36, 0.25, 2, 9


@lru_cache(maxsize=8)
def composed(*overrides: str) -> Config:
    return ami.compose([*SMALL, *overrides])


def config(folder: Path, *overrides: str) -> Config:
    found = composed(*overrides)
    settings = found.settings.copy()
    settings.store = str(folder)
    return replace(found, settings=settings)


def acted(folder: Path) -> ReplayBuffer:
    """Return the episodes that the agent acted while it learnt."""
    (found,) = [one for path in folder.glob("cache/*.episodes") if VERSION in (one := ReplayBuffer.open(path)).columns]
    return found


def acting_rows(rows: list[dict[str, float | str]]) -> list[dict[str, float]]:
    return [{name: float(value) for name, value in row.items() if name != "stage"}
            for row in rows if row["stage"] == "collect"]


class Seen:
    """A monitor that keeps the rows of figures."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, []

    def begin(self, modules: object) -> None:
        pass

    def on_step(self, *given: object) -> None:
        pass

    def log(self, row: dict[str, float | str]) -> None:
        self.rows.append(row)


def test_the_agent_acts_with_every_version_of_its_weights(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "run")
    rows = acting_rows(learn(config(tmp_path), monitor=seen).rows)  # type: ignore[arg-type]
    assert acting_rows(seen.rows) == rows
    assert [row["step"] for row in rows] == [1 + wave for wave in range(int(STEPS / RATIO) // (BATCH * LONGEST))]
    assert all(row["lag"] == 0 and row["world_steps"] == BATCH * LONGEST * row["step"] for row in rows)
    assert all(0 <= (RATIO - row["replay_ratio"]) * row["world_steps"] <= 1 + BATCH * RATIO for row in rows)
    assert [row["buffer"] for row in rows] == [10 * (3 + BATCH * row["step"]) for row in rows]
    versions = acted(tmp_path).column(VERSION).view(-1, LONGEST + 1)
    # a tick brings 2 steps of the world, and every other one a step of learning; the first of an episode brings none
    assert versions[0].tolist() == versions[1].tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4]
    last = rows[-1]
    mean = float(versions.double().sum()) / last["buffer"]
    assert last["staleness"] == pytest.approx(int(RATIO * last["world_steps"] - 0.5) - mean, abs=1)
    trace = Trace.open(tmp_path / "run" / "acting")
    recorded = [one.version for one in history(trace, 0, "planner")]
    assert recorded == versions[0].tolist()


def test_weights_are_taken_over_in_mid_episode_only_so_often(tmp_path: Path) -> None:
    rows = acting_rows(learn(config(
        tmp_path, "learning.online.publish_every=100", "learning.online.agent='actor=random'")).rows)
    versions = acted(tmp_path).column(VERSION).view(-1, LONGEST + 1)
    assert all(len(row.unique()) == 1 for row in versions) and len(versions.unique()) == len(rows)
    assert all(0 < row["lag"] < 5 for row in rows)


@pytest.mark.parametrize("stop_at", ["critic 13", *(pytest.param(where, marks=pytest.mark.slow)
                                                    for where in ("tick 2", "tick 33", "critic 0", "model 11"))])
def test_a_training_killed_at_any_point_ends_with_the_same_weights(
        tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, stop_at: str) -> None:
    whole = learn(config(tmp_path_factory.getbasetemp() / "whole"))
    what, number = stop_at.split()
    update_of, tick_of, ticks = StageRun.update, Wave.tick, []

    def update(self: StageRun) -> object:
        if self.stage.name == what and self.step == int(number):
            raise KeyboardInterrupt
        return update_of(self)

    def tick(self: Wave, *given: int) -> None:
        ticks.append(1)
        if what == "tick" and len(ticks) == int(number):
            raise KeyboardInterrupt
        tick_of(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(StageRun, "update", update)
        patched.setattr(Wave, "tick", tick)
        with pytest.raises(KeyboardInterrupt):
            learn(config(tmp_path))
    after = learn(config(tmp_path))
    assert all(torch.equal(value, after.weights[node][name]) for node, state in whole.weights.items()
               for name, value in state.items())
    assert after.rows == whole.rows
    ours, theirs = acted(tmp_path), acted(tmp_path_factory.getbasetemp() / "whole")
    assert ours.columns.keys() == theirs.columns.keys()
    assert all(torch.equal(ours.column(name), theirs.column(name)) for name in ours.columns)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("placement", ["agent", pytest.param("auto", marks=pytest.mark.slow)])
def test_an_agent_in_other_processes_learns_the_same_weights(
        tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, placement: str) -> None:
    near = learn(config(tmp_path_factory.getbasetemp() / "whole"))
    far = learn(config(tmp_path, "runtime=ray", f"placement={placement}"))
    assert far.key == near.key and far.rows == near.rows
    assert all(torch.equal(value, far.weights[node][name]) for node, state in near.weights.items()
               for name, value in state.items())


def test_states_and_episodes_in_files_give_the_same_weights(
        tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = learn(config(tmp_path_factory.getbasetemp() / "whole"))
    spilled = learn(config(tmp_path, "learning.buffer.memory=100"))
    assert all(torch.equal(value, spilled.weights[node][name]) for node, state in whole.weights.items()
               for name, value in state.items())
    assert not list(tmp_path.glob("cache/.*"))


def test_lost_episodes_are_acted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def update(self: StageRun) -> object:
        if self.stage.name == "critic" and self.step == 20:
            raise KeyboardInterrupt
        return update_of(self)

    update_of = StageRun.update
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(StageRun, "update", update)
        learn(config(tmp_path))
    before = acted(tmp_path)
    (folder,) = [path.parent for path in tmp_path.glob(f"cache/*.episodes/{VERSION}.00000.bin")]
    (folder / "episodes.jsonl").write_text("nothing\n")
    trained = learn(config(tmp_path))
    after = acted(tmp_path)
    assert after.num_episodes >= before.num_episodes and len(acting_rows(trained.rows)) == after.num_episodes / BATCH
    assert torch.equal(before.column(VERSION), after.column(VERSION)[:before.num_frames])


def test_the_acting_agent_decides_the_key(tmp_path: Path) -> None:
    plans = [TrainingPlan.of(one, to_graph(one)) for agent in ("self", "actor=random", "random")
             for one in (config(tmp_path, f"learning.online.agent='{agent}'"),)]
    assert len({plan.key for plan in plans if plan is not None}) == 3
    assert [sorted(plan.acting_nodes) for plan in plans if plan is not None] == [
        ["cost", "perception", "world_model"], ["cost", "perception", "world_model"], ["perception", "world_model"]]


@pytest.mark.parametrize(("overrides", "words"), [
    (["learning.online.replay_ratio=0"], "learning.online.replay_ratio is 0: expected a number above 0"),
    (["learning.online.replay_ratio=1e-12"], "learning.online.replay_ratio is 1e-12: "),
    (["learning.online.batch=0"], "learning.online.batch is 0: expected a whole number, 1 or more"),
    (["learning.online.publish_every=0"], "learning.online.publish_every is 0: expected a whole number, 1 or more"),
    (["+learning.online.ratio=1"], "unknown setting 'learning.online.ratio'"),
    (["learning.online.agent=slef"], "unknown agent in learning.online.agent 'slef': did you mean 'self'"),
    (["learning.rounds=2"], "learning.rounds is 2 with learning.online: expected 1. Fix: more steps of its stages"),
    (["agents=2"], "agents is 2 with learning.online.max_lag=0, in which one agent and learning take turns: expected 1."),
    (["learning.online.max_lag=-1"], "learning.online.max_lag is -1: expected a whole number, 0 or more"),
    (["learning.online.queue=0"], "learning.online.queue is 0: expected a whole number, 1 or more"),
])
def test_settings_out_of_range_are_refused(overrides: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises((AmiError, LookupError)) as refusal:
        check(config(tmp_path, *overrides))
    assert words in str(refusal.value)
