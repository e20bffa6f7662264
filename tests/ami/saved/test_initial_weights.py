"""Initial weights of a node: read from a run, an agent's file or a plain file, checked, kept if frozen, and saved again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shutil import move

import pytest
import safetensors.torch
import torch
from torch import Tensor

import ami
from ami.config.compose import Config, to_graph
from ami.errors import AmiError, CheckpointError, SettingError, UnknownName
from ami.learning import checkpoint
from ami.saved.agent_file import read_weights
from ami.saved.initial_weights import initial_weights
from ami.session.checks import learning_remarks
from ami.session.learn import key_of, learn

SMALL = ["runtime=local", "learning.collect.episodes=12", "learning.collect.batch=12", "learning.stages.model.steps=3",
         "learning.stages.model.batch=8", "learning.stages.critic.steps=2", "learning.stages.critic.batch=8",
         "evaluation.pairs=1", "evaluation.baselines=[]", "evaluation.video=0", "trace.record=false"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with the run "first"."""
    store = tmp_path_factory.mktemp("store")
    ami.train(ami.compose([*SMALL, f"store={store}"]), store / "first")
    return store


def config(store: Path, *overrides: str) -> Config:
    return ami.compose([*SMALL, f"store={store}", "world_model.hidden=48", *overrides])


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def learnt(store: Path) -> Mapping[str, Tensor]:
    return read_weights(store / "first" / "agent.safetensors")["perception"]


@pytest.mark.parametrize("where", ["first", "{store}/first", "{store}/first/agent.safetensors", "first:perception",
                                   "{store}/first/agent.safetensors:perception"])
def test_weights_come_from_a_run_or_a_file(where: str, store: Path, learnt: Mapping[str, Tensor]) -> None:
    one = config(store, f"perception.weights={where.format(store=store)}")
    assert equal(initial_weights(one, to_graph(one)).weights["perception"], learnt)
    agent = ami.build(one)
    assert equal(agent.runtime.worker.modules["perception"].state_dict(), learnt)  # type: ignore[attr-defined]


def test_weights_come_from_a_plain_file_and_the_key_sees_their_content(store: Path, tmp_path: Path,
                                                                       learnt: Mapping[str, Tensor]) -> None:
    safetensors.torch.save_file(dict(learnt), tmp_path / "encoder.safetensors")
    keys = [key_of(config(store, f"perception.weights={where}"))
            for where in ("first", tmp_path / "encoder.safetensors", "first:perception")]
    assert len(set(keys)) == 1
    safetensors.torch.save_file({name: value + 1 for name, value in learnt.items()}, tmp_path / "encoder.safetensors")
    changed = key_of(config(store, f"perception.weights={tmp_path / 'encoder.safetensors'}"))
    assert len({changed, keys[0], key_of(config(store))}) == 3
    bare = [key_of(config(store, "learning.stages={model: null, critic: null}", *more))
            for more in ([], ["perception.weights=first"])]
    assert bare[0] == "" != bare[1]


@pytest.mark.parametrize("source", ["windows", "percepts"])
def test_a_frozen_node_keeps_its_weights_and_the_agent_opens_without_their_file(
        source: str, store: Path, tmp_path: Path, learnt: Mapping[str, Tensor]) -> None:
    move(str(store / "first"), tmp_path / "moved")
    try:
        one = config(store, f"perception.weights={tmp_path / 'moved'}", "perception.frozen=true",
                     f"learning.stages.model.source={source}")
        trained = ami.train(one, tmp_path / "second")
    finally:
        move(tmp_path / "moved", str(store / "first"))
    assert equal(trained.weights["perception"], learnt)
    assert equal(read_weights(tmp_path / "second" / "agent.safetensors")["perception"], learnt)
    assert equal(ami.load(tmp_path / "second")._agent.runtime.worker.modules[  # type: ignore[attr-defined]
        "perception"].state_dict(), learnt)
    again = config(store, f"perception.weights={tmp_path / 'moved'}", f"checkpoint={tmp_path / 'second'}")
    assert equal(learn(again).weights["perception"], learnt)
    assert learning_remarks(again, to_graph(again)) == [
        "perception.weights is read only if the checkpoint holds no weights of perception"]


def test_weights_that_are_not_frozen_are_where_learning_begins(store: Path, learnt: Mapping[str, Tensor]) -> None:
    trained = learn(config(store, "perception.weights=first", "learning.stages.model.learning_rate=1e-12"))
    near = [torch.allclose(value, learnt[name], atol=1e-4) for name, value in trained.weights["perception"].items()]
    assert all(near)


def test_an_agent_that_learns_nothing_has_and_keeps_the_weights(store: Path, tmp_path: Path,
                                                                learnt: Mapping[str, Tensor]) -> None:
    one = config(store, "learning.stages={model: null, critic: null}", "perception.weights=first")
    done = ami.run(one, tmp_path / "run")
    assert equal(done.trained.weights["perception"], learnt) and set(done.trained.weights) == {"perception"}
    assert equal(read_weights(tmp_path / "run" / "agent.safetensors")["perception"], learnt)


def test_frozen_nodes_are_named_and_a_stage_with_nothing_left_is_refused(store: Path) -> None:
    control = config(store, "perception.frozen=true")
    assert learning_remarks(control, to_graph(control)) == [
        "the stage model does not train perception: frozen",
        "warning: perception is frozen and untrained: it keeps its random initial weights, which is a control. "
        "Fix for anything else: perception.weights=FILE|RUN"]
    with pytest.raises(SettingError, match=r"^learning\.stages\.critic trains cost\.critics\.critic alone, which is frozen: "
                                           r"nothing is left to learn\. Fix: drop the stage, ~learning\.stages\.critic, or "
                                           r"cost\.frozen=false$"):
        learn(config(store, "cost.frozen=true"))


@pytest.mark.parametrize(("overrides", "error", "words"), [
    (["perception.weights=nowhere"], CheckpointError,
     "perception.weights is 'nowhere': there is no such file, and no run of that name in"),
    (["perception.weights=first:perceptoin"], UnknownName,
     "holds no weights of a node 'perceptoin': did you mean 'perception'?"),
    (["perception.weights=first:world_model"], CheckpointError, "does not fit perception (Conv): it lacks "),
    (["perception.weights=first:world_model"], CheckpointError,
     "Fix: weights of a modules.perception.conv.Conv, not of a modules.world_model.jepa.JEPA"),
    (["world_model.weights=first"], CheckpointError, "world_model.hidden="),
    (["perception.frozen=2"], SettingError, "perception.frozen is 2: expected true or false"),
    (["perception.weights=[1]"], SettingError, "perception.weights is [1]: expected a file, or a run's folder or name"),
])
def test_a_wrong_setting_is_refused_before_any_work(overrides: list[str], error: type[AmiError], words: str, store: Path,
                                                    tmp_path: Path) -> None:
    with pytest.raises(error) as refused:
        ami.run(config(store, *overrides), tmp_path / "run")
    assert words in str(refused.value) and not (tmp_path / "run").exists()


def test_a_plain_file_that_does_not_fit_names_its_tensors(store: Path, tmp_path: Path, learnt: Mapping[str, Tensor]) -> None:
    names = sorted(learnt)
    changed = {**{name: learnt[name] for name in names[1:]}, names[1]: torch.zeros(7), "more": torch.zeros(1)}
    safetensors.torch.save_file(changed, tmp_path / "encoder.safetensors")
    with pytest.raises(CheckpointError) as refused:
        learn(config(store, f"perception.weights={tmp_path / 'encoder.safetensors'}"))
    for words in (f"it lacks {names[0]}", "it has the unexpected more", f"{names[1]} has the shape (7,), expected", "Fix: "):
        assert words in str(refused.value)


def test_progress_of_a_training_is_refused(store: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "phase.safetensors", {"perception/a": torch.zeros(1)}, {"rows": []})
    with pytest.raises(CheckpointError, match="holds a training that is not finished"):
        learn(config(store, f"perception.weights={tmp_path / 'phase.safetensors'}"))


def test_a_module_may_have_a_setting_weights_that_is_no_text(store: Path) -> None:
    one = config(store, "cost.weights={critic: 2.0}")
    assert to_graph(one).specs["cost"].settings["weights"] == {"critic": 2.0}
