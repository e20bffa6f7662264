"""`ami collect`: a stopped collection leaves whole episodes and is continued with the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

import ami
from ami.cli.main import main
from ami.config.compose import Config, to_graph
from ami.data.episode_folder import EpisodeFolder
from ami.errors import SettingError
from ami.runtime.build import build_module
from ami.session.collecting import collect_to
from tests.support.notes import Notes


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose(["agent=random", "runtime=local", f"store={folder / 'store'}", *overrides])


def content(path: Path) -> list[dict[str, object]]:
    return [{name: rows.tolist() for name, rows in one.items()} for one in EpisodeFolder(path).episodes()]


def test_a_stopped_collection_continues_with_the_same_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console, append = Notes(), EpisodeFolder.append
    collect_to(config(tmp_path), tmp_path / "whole", 7, 4, 3)

    def stop(self: EpisodeFolder, episode: dict[str, object]) -> None:
        if self.num_episodes == 4:
            raise KeyboardInterrupt
        append(self, episode)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EpisodeFolder, "append", stop)
        collect_to(config(tmp_path), tmp_path / "cut", 7, 4, 3, console=console)
    assert console.notes == [f"stopped: 4 whole episodes are in '{tmp_path / 'cut'}'; the same command continues"]
    assert len(content(tmp_path / "cut")) == 4
    assert collect_to(config(tmp_path), tmp_path / "cut", 7, 4, 3).num_episodes == 7
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert collect_to(config(tmp_path), tmp_path / "cut", 5, 4, 3).num_episodes == 7, "nothing to do"
    with pytest.raises(SettingError, match="holds 7 episodes of another agent, world, seed or length"):
        collect_to(config(tmp_path, "seed=1"), tmp_path / "cut", 9, 4, 3)


def test_a_collection_with_other_weights_of_the_same_name_is_refused(tmp_path: Path) -> None:
    graph = to_graph(config(tmp_path))
    weights = build_module(graph, "perception", 0).state_dict()
    file = tmp_path / "encoder.safetensors"
    chosen = config(tmp_path, f"perception.weights={file}")
    save_file(weights, file)
    collect_to(chosen, tmp_path / "own", 2, 3, 2)
    assert collect_to(chosen, tmp_path / "own", 3, 3, 2).num_episodes == 3
    save_file({name: value + 1 for name, value in weights.items()}, file)
    with pytest.raises(SettingError) as refusal:
        collect_to(chosen, tmp_path / "own", 4, 3, 2)
    assert str(refusal.value) == (
        f"'{tmp_path / 'own'}' holds 3 episodes of another agent, world, seed or length, or of other weights. Fix: another "
        "name, or the settings and weights it was collected with")


def test_the_commands_collect_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMI_STORE", str(tmp_path / "store"))
    words = ["--episodes", "2", "--steps", "3", "agent=random"]
    assert main(["collect", str(tmp_path / "a.npz"), "--format", "npz", *words]) == 0
    assert [one.name for one in tmp_path.iterdir() if one.name != "store"] == ["a.npz"]
    assert main(["collect", str(tmp_path / "own"), *words]) == 0
    capsys.readouterr()
    for name, kind in (("a.npz", "npz"), ("own", "ami")):
        assert main(["data", "show", str(tmp_path / name)]) == 0
        shown = capsys.readouterr().out
        assert f"({kind}, " in shown and "episodes    2" in shown and "6, 3 to 3 per episode" in shown and "uint8" in shown


@pytest.mark.parametrize(("words", "message"), [
    (["collect", "{}/a", "--episodes", "0"], "--episodes is 0: expected 1 or more"),
    (["collect", "{}/a", "--format", "zip"], "unknown format 'zip'"),
    (["data"], "`ami data` lacks an action"),
    (["data", "shw", "{}"], "unknown action of `ami data` 'shw'"),
    (["data", "show", "{}/none"], "there is no data at"),
    (["data", "show", "{}", "--field", "pixels"], "--field is 'pixels': expected FIELD=NAME"),
])
def test_wrong_commands_are_one_line(words: list[str], message: str, tmp_path: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.npz").write_bytes(b"")
    assert main([word.format(tmp_path) for word in words]) == 2
    assert message in capsys.readouterr().err
