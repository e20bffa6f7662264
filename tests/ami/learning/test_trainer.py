"""Training: resumption after a kill to the same weights, the cache, and refusals of stages and checkpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import ami
from ami.config.compose import Config, to_graph
from ami.errors import CheckpointError, SettingError, UnknownName
from ami.learning import checkpoint
from ami.learning.schedulers import WarmUpCosine
from ami.learning.stage import parts_of
from ami.runtime.worker import Worker
from ami.saved.agent_file import open_trained
from ami.session.learn import learn
from tests.support.stages import interrupted_at, stage

SMALL = ["learning.collect.episodes=12", "learning.collect.batch=12", "learning.stages.model.steps=40",
         "learning.stages.model.batch=8", "learning.stages.critic.steps=40", "learning.stages.critic.batch=8",
         "learning.save_every=5", "runtime=local"]


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose([*SMALL, f"store={folder}", *overrides])


def weights_of(file: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in checkpoint.load(file)[0].items() if not name.startswith("readout/")}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_finished_training_is_loaded_from_the_cache(tmp_path: Path) -> None:
    first = learn(config(tmp_path))
    second = learn(config(tmp_path))
    assert not first.cached and second.cached
    assert first.file is not None and second.file == first.file
    assert "learning skipped" in second.line()
    assert all(torch.equal(value, second.weights[node][name])
               for node, state in first.weights.items() for name, value in state.items())
    assert first.rows and {row["stage"] for row in first.rows} == {"model", "critic"}
    assert first.probes["trained"].keys() == {"r2", "std", "effective_rank"}
    assert not list(tmp_path.rglob("*progress*")), "a finished training leaves no progress file"


def test_the_key_depends_on_settings_of_the_weights_and_not_on_the_planner(tmp_path: Path) -> None:
    keys = {overrides: learn(config(tmp_path, *overrides)).key for overrides in [
        (), ("seed=1",), ("world_model.hidden=32",), ("learning.stages.model.steps=41",)]}
    assert len(set(keys.values())) == 4
    assert learn(config(tmp_path, "planner.horizon=3")).key == keys[()]


@pytest.mark.parametrize(("stop_in", "method"), [
    ("model", "ema"), ("critic", "ema"),
    *(pytest.param("model", name, marks=pytest.mark.slow) for name in ("vicreg", "sigreg", "none"))])
def test_an_interrupted_training_ends_with_the_same_weights(
        tmp_path: Path, stop_in: str, method: str) -> None:
    chosen = (f"world_model.anti_collapse={method}",)
    whole = learn(config(tmp_path / "whole", *chosen))
    with interrupted_at(stop_in, 17):
        learn(config(tmp_path / "cut", *chosen))
    after = learn(config(tmp_path / "cut", *chosen))
    assert whole.file is not None and after.file is not None
    assert same(weights_of(whole.file), weights_of(after.file))
    assert [row["step"] for row in whole.rows] == [row["step"] for row in after.rows]


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    """Kill -9 from outside, at an arbitrary moment."""
    longer = ["learning.stages.model.steps=400"]
    whole = learn(config(tmp_path / "whole", *longer))
    words = [text for text in SMALL if not text.startswith("learning.stages.model.steps")]
    command = [sys.executable, "-m", "ami", "train", *words, *longer, f"store={tmp_path / 'cut'}",
               f"hydra.run.dir={tmp_path / 'job'}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ})
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cut").glob("cache/*.progress.safetensors")):
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < deadline, "no progress file appeared"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.stderr:
        process.stderr.close()
    assert not list((tmp_path / "cut").glob("trained/*/agent.safetensors")), "it ended before it could be killed"
    after = learn(config(tmp_path / "cut", *longer))
    assert whole.file is not None and after.file is not None
    assert same(weights_of(whole.file), weights_of(after.file))


def test_a_checkpoint_is_whole_json_and_tensors(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.safetensors", {"x/y": torch.arange(3)}, {"note": 1})
    tensors, notes = checkpoint.load(tmp_path / "a.safetensors")
    assert torch.equal(tensors["x/y"], torch.arange(3)) and notes == {"note": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_missing_checkpoint_is_refused_with_its_fix(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as refusal:
        learn(config(tmp_path, f"checkpoint={tmp_path / 'none.safetensors'}"))
    assert str(refusal.value) == (f"no checkpoint at '{tmp_path / 'none.safetensors'}'. Fix: train one with `ami train`, "
                                  "or leave checkpoint=null and `ami run` learns first")


def test_a_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    trained = learn(config(tmp_path))
    assert trained.file is not None
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(trained.file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
        learn(config(tmp_path, f"checkpoint={broken}"))


def test_a_checkpoint_of_another_graph_is_refused_with_the_difference(tmp_path: Path) -> None:
    trained = learn(config(tmp_path))
    with pytest.raises(CheckpointError) as refusal:
        learn(config(tmp_path, f"checkpoint={trained.file}", "world_model.hidden=32"))
    assert "was trained with another graph: world_model.hidden was 256 and is now 32" in str(refusal.value)
    assert "Fix: run with the settings it was trained with" in str(refusal.value)


def test_a_checkpoint_loads_and_runs_with_another_planner(tmp_path: Path) -> None:
    trained = learn(config(tmp_path))
    assert trained.file is not None
    graph = to_graph(config(tmp_path, "planner=random_shooting"))
    assert open_trained(trained.file, graph).weights.keys() == trained.weights.keys()


@pytest.mark.parametrize(("settings", "words"), [
    ({"steps": 0}, "learning.stages.critic.steps is 0: expected a whole number, 1 or more"),
    ({"source": "windws"}, "unknown source in learning.stages.critic.source 'windws': did you mean 'windows'?"),
    ({"source": {"name": "windows", "lenght": 3}},
     "learning.stages.critic.source has no setting 'lenght': did you mean 'length'?"),
    ({"source": {"name": "windows", "length": 0}}, "Windows.length is 0: expected 1 or more steps"),
    ({"source": "windows", "optimiser": {"_target_": "torch.nn.Linear"}},
     "learning.stages.critic.optimiser is torch.nn.modules.linear.Linear: "
      "expected a subclass of torch.optim.optimizer.Optimizer. "
     "Fix: learning.stages.critic.optimiser=NAME, an option of configs/optimiser"),
    ({"optimiser": {"name": "sgd", "lr": 0.1}},
     "learning.stages.critic.optimiser.lr is set by the engine. Fix: leave it out; learning_rate sets lr"),
    ({"optimiser": {"_target_": "torch.optim.LBFGS"}}, "which evaluates the loss several times per step"),
    ({"scheduler": {"name": "cosine", "_target_": "torch.optim.lr_scheduler.ConstantLR"}},
     "learning.stages.critic.scheduler has a name and a _target_: expected one of them"),
    ({"precision": "float16"}, "learning.stages.critic.precision is 'float16': expected one of float32, bfloat16"),
    ({"learning_rate": 0.0}, "learning.stages.critic.learning_rate is 0.0: expected a number above 0"),
    ({"clip": -1.0}, "learning.stages.critic.clip is -1.0: expected a number, 0 or more"),
    ({"train": []}, "learning.stages.critic.train is []: expected a list of one or more names, `[a, b]`"),
])
def test_an_invalid_stage_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises((SettingError, UnknownName)) as refusal:
        stage("critic", **settings)
    assert words in str(refusal.value)


@pytest.mark.parametrize(("overrides", "sentence"), [
    (["learning.stages.modle.steps=9"],
     "learning.stages.modle has no 'train': this agent has no such stage to change: did you mean 'model'? Fix: take out "
     "learning.stages.modle, or the experiment that sets it; to make it a stage, +learning.stages.modle.train=…"),
    (["agent=oracle", "experiment=quick"],
     "learning.stages.model has no 'train': this agent has no such stage to change. Fix: take out "
     "learning.stages.model, or the experiment that sets it; to make it a stage, +learning.stages.model.train=…"),
    (["learning.stages.model.source.length=33"],
     "learning.stages.model.source.length is 33: expected at most learning.collect.steps, 32"),
    (["~learning.collect.steps"], "learning.collect.{steps} is missing, but there are stages that learn: model, critic. "
     "Fix: choose learning=two_rooms or another with `collect`; or, to learn nothing, ~learning.stages.model "
     "~learning.stages.critic"),
    (["learning.stages.model.source=hindsight_states"],
     "learning.stages.model.source is HindsightStates, which makes state, successors, goal, next, action: the loss of "
     "world_model needs 'observation'. Fix: another source, see `ami list learning`, or another loss"),
    (["world_model._target_=ami.testing.toys.gru_belief.GRUBelief", "learning.stages.model.source=prioritised_windows"],
     "learning.stages.model.source draws rows in proportion to their errors, but the loss of world_model (GRUBelief) "
     "reports none. Fix: learning.stages.model.source.alpha=0, or report them in its loss, see ami.blueprint.RowErrors"),
])
def test_stages_that_cannot_learn_are_refused(overrides: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refusal:
        learn(ami.compose([*(SMALL if "agent=oracle" not in overrides else []), *overrides, f"store={tmp_path}"]))
    assert str(refusal.value) == sentence


def test_an_unknown_loss_of_a_module_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName) as refusal:
        learn(config(tmp_path, "learning.stages.model.loss=world_model.eyes"))
    assert str(refusal.value) == ("unknown loss in learning.stages.model.loss 'world_model.eyes': did you mean "
                                  "'world_model'?")


def test_an_unknown_setting_of_a_stage_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown setting of learning\.stages\.critic 'step_size': "):
        stage("critic", step_size=3)
    with pytest.raises(UnknownName, match="did you mean 'clip'"):
        stage("critic", clop=3)


@pytest.mark.parametrize(("train_", "error", "words"), [
    (["cost"], SettingError, "would train cost.intrinsic.goal_distance, an intrinsic cost: those are immutable"),
    (["cost.intrinsic.goal_distance"], SettingError, "an intrinsic cost"),
    (["cost.critics.critc"], UnknownName, "did you mean 'cost.critics.critic'?"),
    (["percepton"], UnknownName, "did you mean 'perception'?"),
    (["memory"], SettingError, "memory, which has nothing to learn (Episodic has no parameters)"),
])
def test_parts_that_cannot_be_trained_are_refused(train_: list[str], error: type[Exception], words: str) -> None:
    graph = to_graph(ami.compose())
    modules = Worker(graph, graph.order, 0).modules
    with pytest.raises(error) as refusal:
        parts_of(stage("critic", train=train_, loss="cost"), modules)
    assert words in str(refusal.value)


def test_the_learning_rate_warms_up_and_decays() -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = WarmUpCosine(optimiser, steps=100, warm_up=10, final=0.1), []
    for _ in range(100):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] > rates[50] > rates[99]
    assert rates[99] == pytest.approx(0.1, abs=0.01)


def test_learning_does_not_change_torchs_random_state(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    learn(config(tmp_path))
    assert torch.equal(torch.rand(1), expected)


def test_notes_of_a_checkpoint_are_json(tmp_path: Path) -> None:
    trained = learn(config(tmp_path))
    assert trained.file is not None
    notes = checkpoint.load(trained.file)[1]
    assert json.loads(json.dumps(notes)) == notes
    assert notes["key"] == trained.key and notes["versions"]["torch"]
