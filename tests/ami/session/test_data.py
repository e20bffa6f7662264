"""Learning from a file: the same weights as from collecting it, a cache that sees the data, faults before learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ami
from ami.cli.main import main
from ami.config.compose import Config
from ami.data.write import write
from ami.errors import DataError
from ami.learning import checkpoint
from ami.session import experience
from ami.session.collecting import collect_to
from ami.session.learn import check, learn
from tests.support.notes import Notes

SMALL = ["runtime=local", "learning.collect.episodes=12", "learning.collect.steps=8", "learning.collect.batch=5",
         "learning.stages.model.steps=6", "learning.stages.critic.steps=6", "learning.stages.model.batch=8",
         "learning.stages.critic.batch=8", "learning.stages.model.source.length=3", "world.max_episode_steps=8"]


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose([*SMALL, f"store={folder / 'store'}", *overrides])


def weights_of(file: Path | None) -> dict[str, torch.Tensor]:
    assert file is not None
    return checkpoint.load(file)[0]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the same 12 episodes in ami's own format and as npz, as learning collects them."""
    folder = tmp_path_factory.mktemp("data")
    buffer = collect_to(ami.compose(["agent=random", "world.max_episode_steps=8", f"store={folder / 'store'}"]),
                        folder / "own", 12, 8, 5)
    write(buffer, folder / "rooms.npz", "npz")
    return folder


def test_a_limit_of_memory_changes_no_weight(tmp_path: Path) -> None:
    plain = weights_of(learn(config(tmp_path / "plain")).file)
    mapped = learn(config(tmp_path / "mapped", "learning.buffer.memory=1"))
    assert all(torch.equal(value, weights_of(mapped.file)[name]) for name, value in plain.items())
    assert not list((tmp_path / "mapped").rglob("*.tmp"))


@pytest.mark.parametrize("name", ["own", "rooms.npz"])
def test_learning_from_a_file_equals_learning_from_its_episodes(rooms: Path, name: str, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experience, "PROBE_SHARE", 100)  # no episode is held out
    console = Notes()
    collected = weights_of(learn(config(tmp_path / "collected")).file)
    read = learn(config(tmp_path / "read", f"learning.data={rooms / name}", "~learning.collect"), console)
    assert f"reading {rooms / name}" in console.notes
    trained = weights_of(read.file)
    assert all(torch.equal(value, trained[key]) for key, value in collected.items() if not key.startswith("readout"))
    again = learn(config(tmp_path / "read", f"learning.data={rooms / name}", "learning.stages.critic.steps=7"))
    assert "model" in again.found and again.learnt[-1:] == ("critic",)


def test_held_out_episodes_are_not_learnt_from(rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experience, "PROBE_SHARE", 4)
    trained = learn(config(tmp_path, f"learning.data={rooms / 'own'}"))
    assert set(trained.probes) == {"trained", "untrained"}


def test_the_key_sees_the_data(rooms: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    one.write_bytes((rooms / "rooms.npz").read_bytes())
    with np.load(one) as arrays:
        np.savez(other, **{**arrays, "actions": -arrays["actions"]})
    keys = {learn(config(tmp_path, f"learning.data={file}")).key for file in (rooms / "rooms.npz", one, other)}
    assert len(keys) == 3 and learn(config(tmp_path, f"learning.data={one}")).cached


def test_no_world_is_needed(rooms: Path, tmp_path: Path) -> None:
    given = [text for text in SMALL if not text.startswith("world.")]
    made = ami.compose([*given, "world=data", f"world.path={rooms / 'own'}", "world.goal=true", f"store={tmp_path}"])
    ami.train(made, tmp_path / "run")
    agent = ami.load(tmp_path / "run")
    seen = np.zeros((32, 32, 3), np.uint8)
    assert agent.act({"observation": seen, "goal": seen}).shape == (2,)
    with pytest.raises(Exception, match="world=data has no environment"):
        ami.run(made, tmp_path / "other")


def test_a_fault_is_named_before_learning(rooms: Path, tmp_path: Path) -> None:
    with np.load(rooms / "rooms.npz") as arrays:
        actions = arrays["actions"].copy()
        actions[70] = np.nan
        np.savez(tmp_path / "bad.npz", **{**arrays, "actions": actions})
        np.savez(tmp_path / "vector.npz", **{**arrays, "observations": np.zeros((len(arrays["observations"]), 4))})
        np.savez(tmp_path / "wide.npz", **{**arrays, "actions": np.zeros((len(actions), 3))})
    with pytest.raises(DataError, match=r"episode \d+ \(trajectory \d+\): step \d+ of action is nan"):
        learn(config(tmp_path, f"learning.data={tmp_path / 'bad.npz'}"))
    for name, words in (("vector", "has observations float32 \\(4,\\): expected uint8 \\(32, 32, 3\\), as world sends"),
                        ("wide", "has actions of 3 numbers: expected 2"), ("none", "there is no data at")):
        with pytest.raises(DataError, match=words):
            check(config(tmp_path, f"learning.data={tmp_path / name}.npz"))
    assert not list((tmp_path / "store").rglob("phase-*"))


def test_names_and_bounds_are_settings(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(rooms / "rooms.npz") as arrays:
        np.savez(tmp_path / "own.npz", eyes=arrays["observations"], force=2 * arrays["actions"], steps=arrays["steps"])
    data = f"learning.data={tmp_path / 'own.npz'}"
    fields = ["learning.fields={observation: eyes, action: force}", "learning.actions={low: -2, high: 2}"]
    assert learn(config(tmp_path, data, *fields)).file is not None
    assert main(["train", *SMALL, f"store={tmp_path}", data, "learning.fields={pixels: eyes}"]) == 2
    assert "unknown setting 'learning.fields.pixels'" in capsys.readouterr().err


def test_the_oldest_episodes_beyond_the_capacity_are_left_out(tmp_path: Path) -> None:
    keys = {learn(config(tmp_path, *more)).key for more in ([], ["learning.buffer.capacity=20"])}
    assert len(keys) == 2
