"""Training: cached steps are reused, the caller's threads are restored, and faults are raised before the work."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

import ami
from ami.blueprint import Actor
from ami.config.compose import Config
from ami.data.episode_folder import EpisodeFolder
from ami.errors import CheckpointError, GraphError, SettingError
from ami.learning import checkpoint
from ami.session.learn import check, learn
from tests.support.notes import Notes

SMALL = ["experiment=pendulum", "learning.collect.episodes=3", "learning.collect.batch=3", "learning.collect.steps=12",
         "learning.rounds=1", "learning.stages.model.steps=6", "learning.stages.critic.steps=6", "learning.save_every=2",
         "learning.stages.model.batch=8", "learning.stages.critic.batch=8", "planner.num_candidates=8", "runtime=local"]


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose([*SMALL, f"store={folder}", *overrides], allow=["tests.", "test_training."])


def test_another_critic_reuses_cached_experience_and_model(tmp_path: Path) -> None:
    first = learn(config(tmp_path))
    assert first.found == () and first.learnt == ("experience", "model", "critic")
    assert first.line() == f"learnt in {first.seconds:.0f} s: {first.file}"
    other = learn(config(tmp_path, "learning.stages.critic.steps=7"))
    assert other.found == ("experience", "model") and other.learnt == ("critic",) and other.key != first.key
    assert other.line().startswith("experience, model found (") and " s saved), critic learnt in " in other.line()
    alone = learn(config(tmp_path / "alone", "learning.stages.critic.steps=7"))
    assert other.key == alone.key and all(torch.equal(value, alone.weights[node][name])
                                          for node, state in other.weights.items() for name, value in state.items())
    assert [(row["stage"], row["step"]) for row in other.rows] == [(row["stage"], row["step"]) for row in alone.rows]


@pytest.mark.parametrize(("override", "found"), [
    ("learning.stages.critic=null", ("experience", "model")),
    ("cost.critics.value.hidden=16", ("experience", "model")),
    ("learning.stages.model.steps=7", ("experience",)),
    ("planner.horizon=3", None), ("learning.collect.episodes=4", ()),
])
def test_a_step_is_cached_if_none_of_its_dependencies_changed(
        override: str, found: tuple[str, ...] | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = tmp_path_factory.getbasetemp() / "shared"
    learn(config(store))
    trained = learn(config(store, override))
    assert trained.cached if found is None else trained.found == found


def test_more_rounds_continue_from_cached_rounds(tmp_path: Path) -> None:
    learn(config(tmp_path, "learning.rounds=2"))
    trained = learn(config(tmp_path, "learning.rounds=3"))
    assert trained.found == tuple(f"{name} of round {number}" for number in (1, 2)
                                  for name in ("experience", "model", "critic"))


def test_the_callers_thread_count_is_restored(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        learn(config(tmp_path))
        with pytest.raises(SettingError):
            learn(config(tmp_path, "learning.stages.critic.source=windows"))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


class Follower(Actor):
    def step(self, state, goal, mode, plan=None):  # type: ignore[no-untyped-def]
        return {"action": plan[:, 0]}


def test_any_actor_explores_in_later_rounds(tmp_path: Path) -> None:
    own = f"actor._target_={__name__}.Follower"
    weights = [checkpoint.load(file)[0] for explore in (0.0, 0.9) if (file := learn(config(
        tmp_path, own, "learning.rounds=2", f"learning.explore={explore}")).file)]
    assert not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(("overrides", "words"), [
    (["learning.stages.model.train=[world_model,world_model]"],
     "learning.stages.model.train names world_model and world_model, which is the same: expected each part once"),
    (["learning.stages.model.train=[world_model,world_model.predictor]"], "which is a part of it"),
    (["learning.collect.episodes=100000000000"], "learning.collect.episodes is 100000000000: its data need"),
    (["learning.stages.model.steps=1000000000000"], "learning.stages.model.steps is 1000000000000: that takes about"),
    (["learning.stages.model.batch=1000000000000"], "learning.stages.model.batch is 1000000000000: its data need"),
    (["learning.stages.critic.source.imagined=1000000000000"], "learning.stages.critic."),
    (["learning.threads=1000000"], "learning.threads is 1000000: expected a whole number from 1 to 1024, or auto"),
    (["learning.rounds=1000000000"], "learning.rounds is 1000000000: expected a whole number from 1 to 10000"),
    (["world_model.rewards=false"], "reward"),
    (["+second._target_=modules.perception.vector.VectorPerception", "+graph.second={observation: world.observation}",
      "learning.stages.model.train=[world_model,perception,second]"], "second"),
])
def test_a_config_that_cannot_learn_is_refused_before_collecting(overrides: list[str], words: str,
                                                                 tmp_path: Path) -> None:
    with pytest.raises((SettingError, GraphError, LookupError)) as refusal:
        check(config(tmp_path, *overrides))
    assert words in str(refusal.value) and not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_the_same_command_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learn(config(tmp_path / "whole"))
    save_of = checkpoint.save

    def full(path: Path, *rest: object) -> None:
        if "progress" in path.name and len(list(path.parent.glob("phase-*"))) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        save_of(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(CheckpointError) as refusal:
        learn(config(tmp_path / "full"))
    assert "learning stopped: " in str(refusal.value) and "(No space left on device)" in str(refusal.value)
    assert str(refusal.value).endswith("then the same command resumes") and "\n" not in str(refusal.value)
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    after = learn(config(tmp_path / "full"))
    assert after.found[:1] == ("experience",)
    assert all(torch.equal(value, after.weights[node][name]) for node, state in whole.weights.items()
               for name, value in state.items())


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Notes()

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(EpisodeFolder, "append", full)
    assert learn(config(tmp_path), console).file is not None
    assert len(console.notes) == 1 and console.notes[0].startswith("warning: experience-")


def test_no_more_memory_names_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modules.world_model.jepa import JEPA

    def huge(self: JEPA, batch: object) -> object:
        return torch.empty(2**60)

    monkeypatch.setattr(JEPA, "loss", huge)
    with pytest.raises(SettingError) as refusal:
        learn(config(tmp_path))
    assert "learning.stages.model ran out of memory at step 0: " in str(refusal.value)
    assert "Fix: learning.stages.model.batch below" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_loss_that_raises_names_stage_step_and_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modules.world_model.jepa import JEPA

    def broken(self: JEPA, batch: object) -> object:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(JEPA, "loss", broken)
    with pytest.raises(SettingError) as refusal:
        check(config(tmp_path))
    assert str(refusal.value) == ("learning.stages.model failed at step 0: world_model (JEPA) raised ZeroDivisionError: "
                                  "by nothing. Fix: correct its loss(batch), or drop the stage, ~learning.stages.model")
