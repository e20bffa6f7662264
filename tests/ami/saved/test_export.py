"""Saved agents: opened by run, file or name, exported, and run from the export with equal weights."""

from __future__ import annotations

from pathlib import Path

import pytest

import ami
from ami.cli.main import main
from ami.errors import CheckpointError, SettingError
from ami.learning import checkpoint
from ami.saved.export import SavedAgent, export

OVERRIDES = ["runtime=local", "learning.collect.episodes=12", "learning.collect.batch=12", "learning.stages.model.steps=3",
             "learning.stages.model.batch=8", "learning.stages.critic.steps=2", "learning.stages.critic.batch=8",
             "evaluation.pairs=1", "evaluation.baselines=[]", "evaluation.video=0", "trace.record=false"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a trained agent whose planner is a user's option."""
    place = tmp_path_factory.mktemp("trained")
    (place / "mine" / "planner").mkdir(parents=True)
    (place / "mine" / "planner" / "short.yaml").write_text("# CEM that looks three steps ahead.\n"
                                                          "_target_: modules.planner.cem.CEM\nhorizon: 4\n")
    config = ami.compose([*OVERRIDES, "planner=short", f"hydra.searchpath=[file://{place / 'mine'}]",
                          f"store={place / 'runs'}"])
    ami.train(config, place / "runs" / "first")
    return place


@pytest.fixture
def in_store(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AMI_STORE", str(trained / "runs"))
    return trained


def test_an_agent_is_found_by_its_run_its_file_and_its_name(in_store: Path) -> None:
    places = ["first", in_store / "runs" / "first", in_store / "runs" / "first" / "agent.safetensors"]
    found = [SavedAgent.open(place) for place in places]
    assert {one.file for one in found} == {in_store / "runs" / "first" / "agent.safetensors"}
    assert {one.name for one in found} == {"first"}
    assert found[0].config["planner"]["horizon"] == 4 and {"perception", "world_model"} <= set(found[0].weights())


@pytest.mark.parametrize("name", ["second", "first/agent.json"])
def test_a_missing_agent_is_one_line(in_store: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^no agent at '{name}': expected the folder of a run or an export, which "
                                              r"holds agent\.safetensors, .*Fix: name another one, or make one"):
        SavedAgent.open(name)


def test_weights_without_a_configuration_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "agent.safetensors", {}, {"nodes": {}})
    with pytest.raises(CheckpointError, match=r"holds weights without the configuration of their agent: .*Fix: run it once"):
        SavedAgent.open(tmp_path)


def test_an_agent_saved_with_earlier_names_of_settings_is_opened(tmp_path: Path) -> None:
    notes = {"nodes": {}, "key": "", "seconds": 0.0, "probes": {}, "rows": [], "config": {"evaluation": {"film": 0}},
             "overrides": ["evaluation.film=0"]}
    checkpoint.save(tmp_path / "agent.safetensors", {}, notes)
    saved = SavedAgent.open(tmp_path)
    assert saved.config == {"evaluation": {"video": 0}} and saved.overrides == ("evaluation.video=0",)


def test_checkpoint_names_a_run(in_store: Path) -> None:
    searched = f"hydra.searchpath=[file://{in_store / 'mine'}]"
    for name in ("first", str(in_store / "runs" / "first")):
        agent = ami.build(ami.compose([*OVERRIDES, "planner=short", searched, f"checkpoint={name}"]))
        weights = SavedAgent.open(name).weights()
        state = agent.runtime.worker.modules["perception"].state_dict()
        assert all(bool((state[key] == value).all()) for key, value in weights["perception"].items())


def test_an_export_runs_elsewhere(in_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "first", str(tmp_path / "alice")]) == 0
    assert "wrote" in capsys.readouterr().out
    names = {path.relative_to(tmp_path / "alice").as_posix() for path in (tmp_path / "alice").rglob("*") if path.is_file()}
    assert names == {"agent.safetensors", "agent.json", "config.yaml", "config/planner/short.yaml"}
    monkeypatch.delenv("AMI_STORE")
    monkeypatch.chdir(tmp_path)  # another machine: no store, and the folder of options is gone
    (in_store / "mine").rename(in_store / "gone")
    try:
        assert main(["run", "--from", "alice", "evaluation.pairs=2", "hydra.run.dir=runs/again"]) == 0
    finally:
        (in_store / "gone").rename(in_store / "mine")
    again = SavedAgent.open("again")
    assert again.config["planner"]["horizon"] == 4 and again.config["evaluation"]["pairs"] == 2
    first, second = SavedAgent.open("alice").weights(), again.weights()
    assert all(bool((first[node][key] == second[node][key]).all()) for node in first for key in first[node])


def test_an_agents_packages_are_those_of_its_classes_and_of_its_world() -> None:
    world = {"_target_": "ami.envs.world.GymWorld", "id": "ale_py:ALE/Pong-v5", "wrappers": ["grey.Scale"]}
    config = {"world": world, "planner": {"_target_": "mine.Planner"}, "other": {"entry_point": "pond:Pond"}}
    assert SavedAgent(Path(), config, (), {}).packages() == ["ale_py", "grey", "mine", "pond"]


def test_an_export_overwrites_nothing(in_store: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"exists already: expected a new folder\. Fix: another name, or delete it$"):
        export("first", tmp_path)


def test_given_overrides_win_over_the_agents_own(in_store: Path) -> None:
    found = SavedAgent.open("first").run_overrides(["evaluation.pairs=7", "planner=mppi"])
    own = [text for text in found if text.startswith(("evaluation.pairs", "planner"))]
    assert own == ["evaluation.pairs=7", "planner=mppi"]
