"""The schedule: stages that learn at once take turns, keep their optimisers, and resume bit-identically."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ami
from ami.config.compose import Config
from ami.errors import SettingError
from ami.learning.schedule import due
from ami.learning.stage_run import StageRun
from ami.saved.agent_file import Trained
from ami.session import learn as learning
from ami.session.learn import learn
from tests.support.stages import interrupted_at, stage

MIXED = ["learning.collect.episodes=10", "learning.collect.batch=10", "learning.collect.steps=12", "learning.rounds=2",
         "learning.order=concurrent", "learning.fresh=false", "learning.stages.model.steps=24",
         "learning.stages.model.batch=8", "learning.stages.critic.steps=16", "learning.stages.critic.batch=8",
         "world_model.anti_collapse=ema", "learning.save_every=3", "validation.every=0", "runtime=local"]


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose([*MIXED, f"store={folder}", *overrides])


def same(one: Trained, two: Trained) -> bool:
    return one.weights.keys() == two.weights.keys() and all(
        torch.equal(value, two.weights[node][name]) for node, state in one.weights.items() for name, value in state.items())


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.integers(1, 30), min_size=1, max_size=4), data=st.data())
def test_stages_take_turns_in_proportion_to_their_steps(steps: list[int], data: st.DataObject) -> None:
    stages = [stage(f"stage{number}", steps=count) for number, count in enumerate(steps)]
    order = [one.name for one in due(stages)]
    assert Counter(order) == {one.name: one.steps for one in stages}
    done = data.draw(st.integers(0, len(order)))
    assert [one.name for one in due(stages, done)] == order[done:], "a resumed phase takes the rest of the turns"
    early = Counter(order[:done])
    shares = [early[one.name] / one.steps for one in stages]
    assert max(shares) - min(shares) <= 1 / min(steps) + 1 / max(steps) + 1e-9, "within one turn"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A mixed schedule without interruption: two rounds of collecting and two concurrent stages."""
    return learn(config(tmp_path_factory.mktemp("whole")))


def test_concurrent_stages_share_a_phase(whole: Trained) -> None:
    assert whole.learnt == tuple(f"{name} of round {number}" for number in (1, 2)
                                 for name in ("experience", "model and critic"))
    assert {row["stage"] for row in whole.rows} == {"collect", "model", "critic"}


def test_percepts_of_a_perception_that_another_stage_trains_meanwhile_are_refused_before_collecting(tmp_path: Path) -> None:
    eye = "++learning.stages.eye={train: [perception], loss: world_model, steps: 8, batch: 8}"
    frozen = ["learning.stages.model.train=[world_model]", "learning.stages.model.source=percepts"]
    with pytest.raises(SettingError, match="but perception is trained at the same time: expected a frozen perception"):
        learn(config(tmp_path, eye, *frozen))
    assert not list(tmp_path.rglob("*.episodes"))
    alone = ["learning.order=sequential", "learning.rounds=1", "world_model.anti_collapse=vicreg"]
    assert learn(config(tmp_path, eye, *frozen, *alone)).file is not None


@contextmanager
def stopped_at(moment: int) -> Iterator[None]:
    """Expect the block to be interrupted before its `moment`-th step of learning, from 1."""
    update_of, done = StageRun.update, 0

    def stop(self: StageRun) -> object:
        nonlocal done
        done += 1
        if done == moment:
            raise KeyboardInterrupt
        return update_of(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(learning, "dry_run", lambda plan, experts: [])
        patch.setattr(StageRun, "update", stop)
        yield


MOMENTS = random.Random(0).sample(range(1, 80), 20)


@pytest.mark.parametrize("moment", [*MOMENTS[:4], *(pytest.param(one, marks=pytest.mark.slow) for one in MOMENTS[4:])])
def test_a_mixed_schedule_stopped_at_any_step_ends_with_the_same_weights(
        tmp_path: Path, whole: Trained, moment: int) -> None:
    with stopped_at(moment):
        learn(config(tmp_path))
    after = learn(config(tmp_path))
    assert same(whole, after)
    assert [(row["stage"], row["step"]) for row in whole.rows] == [(row["stage"], row["step"]) for row in after.rows]


PRIORITISED = ["learning.stages.model.source={name: prioritised_windows, length: 3}", "learning.stages.model.accumulate=2",
               "learning.stages.critic.source=prioritised_states", "learning.buffer.capacity=180"]


@pytest.fixture(scope="module")
def prioritised(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A mixed schedule with prioritised sources, whose second round leaves out the oldest episodes."""
    return learn(config(tmp_path_factory.mktemp("prioritised"), *PRIORITISED))


@pytest.mark.parametrize("moment", [*MOMENTS[:3], *(pytest.param(one, marks=pytest.mark.slow) for one in MOMENTS[3:])])
def test_priorities_of_a_stopped_schedule_continue(tmp_path: Path, prioritised: Trained, moment: int) -> None:
    with stopped_at(moment):
        learn(config(tmp_path, *PRIORITISED))
    assert same(prioritised, learn(config(tmp_path, *PRIORITISED)))


def test_a_cached_round_brings_its_priorities(tmp_path: Path, prioritised: Trained) -> None:
    learn(config(tmp_path, *PRIORITISED, "learning.rounds=1"))
    after = learn(config(tmp_path, *PRIORITISED))
    assert after.found == ("experience of round 1", "model and critic of round 1") and same(prioritised, after)


def test_a_cached_round_brings_its_optimisers(tmp_path: Path, whole: Trained) -> None:
    learn(config(tmp_path, "learning.rounds=1"))
    after = learn(config(tmp_path))
    assert after.found == ("experience of round 1", "model and critic of round 1") and same(whole, after)


def test_optimisers_that_go_on_differ_from_fresh_ones_in_later_rounds_only(tmp_path: Path, whole: Trained) -> None:
    assert not same(whole, learn(config(tmp_path, "learning.fresh=true")))
    one, fresh = (learn(config(tmp_path, "learning.rounds=1", f"learning.fresh={fresh}")) for fresh in ("false", "true"))
    assert same(one, fresh)


DEFAULT = ["learning.rounds=1", "learning.order=sequential", "world_model.anti_collapse=vicreg"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training with the options of the defaults."""
    return learn(config(tmp_path_factory.mktemp("reference"), *DEFAULT))


@pytest.mark.parametrize("words", [
    ("model.optimiser=sgd",), ("model.optimiser=nadam",), ("model.optimiser.betas=[0.8,0.99]",),
    ("model.scheduler=constant",), ("model.scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 7}",),
    ("model.precision=bfloat16",), ("model.accumulate=2",), ("model.train=[world_model]", "model.source=percepts")])
def test_one_word_changes_how_a_stage_learns(tmp_path: Path, words: tuple[str, ...], reference: Trained) -> None:
    swapped = learn(config(tmp_path, *(f"learning.stages.{word}" for word in words), *DEFAULT))
    losses = [float(row["loss"]) for row in swapped.rows if row["stage"] == "model"]
    assert all(map(math.isfinite, losses)) and not same(swapped, reference)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "nadam", "{_target_: torch.optim.Adagrad}"])
def test_every_optimiser_resumes_to_the_same_weights(tmp_path: Path, optimiser: str) -> None:
    one_cycle = "{_target_: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.01, total_steps: 24, cycle_momentum: false}"
    chosen = ["learning.rounds=1", f"learning.stages.model.optimiser={optimiser}",
              f"learning.stages.model.scheduler={one_cycle}"]
    expected = learn(config(tmp_path / "whole", *chosen))
    with interrupted_at("model", 14):
        learn(config(tmp_path / "cut", *chosen))
    assert same(expected, learn(config(tmp_path / "cut", *chosen)))
