"""Learning in rounds: the trained agent collects the next experience; a kill between or within rounds changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ami
from ami.config.compose import Config
from ami.learning import checkpoint
from ami.learning.stage_run import StageRun
from ami.session import learn as learning
from ami.session.learn import learn

SMALL = ["experiment=pendulum", "learning.collect.episodes=3", "learning.collect.batch=3", "learning.collect.steps=12",
         "learning.rounds=3", "learning.stages.model.steps=12", "learning.stages.critic.steps=12", "learning.save_every=5",
         "learning.stages.model.batch=8", "learning.stages.critic.batch=8", "planner.num_candidates=8", "runtime=local"]


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose([*SMALL, f"store={folder}", *overrides])


def weights_of(file: Path | None) -> dict[str, torch.Tensor]:
    assert file is not None
    return checkpoint.load(file)[0]


def test_every_round_is_a_point_of_the_learning_curve(tmp_path: Path) -> None:
    trained = learn(config(tmp_path))
    rounds = [row for row in trained.rows if row["stage"] == "collect"]
    assert [row["step"] for row in rounds] == [0, 1, 2] and all(float(row["return"]) < 0 for row in rounds)
    assert all(row["steps"] == 12 for row in rounds)
    assert sum(row["stage"] == "model" and row["step"] == 0 for row in trained.rows) == 3
    assert trained.file is not None and len(list(trained.file.parent.iterdir())) == 1
    assert learn(config(tmp_path)).cached


def test_exploration_and_planner_change_the_key_if_they_collect_experience(tmp_path: Path) -> None:
    keys = {learn(config(tmp_path, "learning.rounds=2", *more)).key for more in (
        [], ["learning.explore=0.5"], ["planner.horizon=3"])}
    assert len(keys) == 3
    one = learn(config(tmp_path, "learning.rounds=1"))
    assert learn(config(tmp_path, "learning.rounds=1", "planner.horizon=3")).key == one.key


@pytest.mark.parametrize("stop_at", ["collect 1", "model 1 7", "critic 2 9", "model 2 0"])
def test_a_training_killed_in_any_round_ends_with_the_same_weights(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: str) -> None:
    whole = learn(config(tmp_path / "whole"))
    what, number, *step_at = stop_at.split()
    update_of, experience_of, begun = StageRun.update, learning.experience_of, []

    def update(self: StageRun) -> object:
        name, step = self.stage.name, self.step
        begun.extend([name] if step == 0 else [])
        if name == what and begun.count(what) == 1 + int(number) and step == int(step_at[0]):
            raise KeyboardInterrupt
        return update_of(self)

    def experience(*args: object) -> object:
        begun.append("collect")
        if what == "collect" and begun.count("collect") == 1 + int(number):
            raise KeyboardInterrupt
        return experience_of(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(StageRun, "update", update)
    monkeypatch.setattr(learning, "experience_of", experience)
    with pytest.raises(KeyboardInterrupt):
        learn(config(tmp_path / "cut"))
    monkeypatch.undo()
    after = learn(config(tmp_path / "cut"))
    ours, theirs = weights_of(after.file), weights_of(whole.file)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [(row["stage"], row["step"]) for row in after.rows] == [(row["stage"], row["step"]) for row in whole.rows]


def test_exploration_affects_later_rounds_only(tmp_path: Path) -> None:
    def learnt(rounds: int, explore: float) -> dict[str, torch.Tensor]:
        return weights_of(learn(config(tmp_path, f"learning.rounds={rounds}", f"learning.explore={explore}")).file)

    for rounds, same in ((1, True), (2, False)):
        never, always = learnt(rounds, 0.0), learnt(rounds, 1.0)
        assert all(torch.equal(never[name], always[name]) for name in never) is same
