"""Read: every format gives the same episodes, and a fault is named by file, episode, step and field."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ami.data.read import Data
from ami.data.recording import ActionCode
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import DataError
from tests.ami.data import written
from tests.ami.data.written import LENGTHS


def loaded(data: Data, folder: Path, memory: float = 1e9) -> ReplayBuffer:
    return data.load(memory, folder / "rows")


WHOLE: dict[str, Callable[[Path], Path]] = {
    "npz files": lambda folder: written.npz_folder(folder / "npz"), "npz, padded": written.npz_padded,
    "npz, flat": written.npz_flat, "npz, a file per field": written.npz_of_fields, "hdf5": written.hdf5_groups,
    "D4RL": written.hdf5_d4rl, "Minari": written.minari_set,
    "Minari, Dict": lambda folder: written.minari_set(folder, "observation"),
}


@pytest.mark.parametrize("memory", [1e9, 1])
@pytest.mark.parametrize("form", WHOLE)
def test_every_format_gives_the_same_episodes(form: str, memory: float, tmp_path: Path) -> None:
    buffer = loaded(Data.at(WHOLE[form](tmp_path)), tmp_path, memory)
    assert buffer.steps.tolist() == list(LENGTHS)
    for number, one in enumerate(written.episodes()):
        episode = buffer.episode(number)
        assert episode["observation"].dtype == torch.float32
        assert episode["observation"].tolist() == one["observations"].tolist()
        assert episode["action"].argmax(1)[:-1].tolist() == one["actions"].tolist() and episode["action"].shape[1] == 3
        assert episode["reward"].tolist() == [0, *one["rewards"]] and not bool(episode["action"][-1].any())
        assert episode["terminated"].tolist() == [False, *one["terminations"]]


@pytest.mark.parametrize("version", [2, 3])
def test_lerobot_leaves_out_the_last_action(version: int, tmp_path: Path) -> None:
    data = Data.at(written.lerobot(tmp_path, version), code=ActionCode(choices=3))
    with pytest.raises(DataError, match=r"episode 1 \(episode_index 1\): it is empty: 1 observations"):
        loaded(data, tmp_path)
    recordings = list(data.recordings())
    assert [len(one.fields["observation"]) for one in recordings] == list(LENGTHS)
    assert recordings[2].fields["observation"][:, 0].tolist() == [20, 21, 22, 23]


@pytest.mark.parametrize("version", [2, 3])
def test_lerobots_videos_are_the_observations(version: int, tmp_path: Path) -> None:
    recordings = list(Data.at(written.lerobot(tmp_path, version, is_video=True)).recordings())
    shown = [one.fields["observation"] for one in recordings]
    assert [len(one) for one in shown] == list(LENGTHS) and shown[0].shape[1:] == (64, 64, 3)
    assert [round(float(one.mean()) / 60) for one in shown] == [0, 1, 2]


def test_pictures_and_videos_are_observations_with_steps_beside_them(tmp_path: Path) -> None:
    buffer = loaded(Data.at(written.pictures(tmp_path / "pictures")), tmp_path)
    assert buffer.steps.tolist() == list(LENGTHS) and buffer.columns["observation"].dtype == torch.uint8
    assert buffer.episode(2)["observation"][:, 0, 0, 0].tolist() == [20, 21, 22, 23, 24]
    assert buffer.columns["action"].shape == (3,)
    alone = loaded(Data.at(written.pictures(tmp_path / "alone", with_steps=False)), tmp_path)
    assert alone.columns["action"].shape == (0,) and "reward" not in alone.columns
    one = loaded(Data.at(tmp_path / "alone" / "episode_2"), tmp_path)
    assert one.steps.tolist() == [4]
    written.video(tmp_path / "clips" / "b.mp4", [1, 2, 3])
    np.savez(tmp_path / "clips" / "b.npz", actions=np.zeros((2, 2)))
    clips = loaded(Data.at(tmp_path / "clips"), tmp_path)
    assert clips.steps.tolist() == [2] and clips.columns["observation"].shape == (64, 64, 3)
    assert loaded(Data.at(tmp_path / "clips" / "b.mp4"), tmp_path).columns["action"].shape == (2,)


def test_own_format_is_read_back(tmp_path: Path) -> None:
    saved = loaded(Data.at(written.npz_flat(tmp_path)), tmp_path).save(tmp_path / "own")
    assert loaded(Data.at(tmp_path / "own"), tmp_path).steps.tolist() == saved.steps.tolist() == list(LENGTHS)


def test_the_key_sees_the_data(tmp_path: Path) -> None:
    folder = written.npz_folder(tmp_path / "npz")
    keys = [Data.at(folder).key, Data.at(folder).key, Data.at(folder, {"observation": "rewards"}).key]
    np.savez(folder / "3.npz", **written.arrays(3, 2))
    keys.append(Data.at(folder).key)
    assert keys[0] == keys[1] and len(set(keys)) == 3


def test_other_names_and_bounds_are_given_by_the_user(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", eyes=np.zeros((4, 2)), torque=np.array([[-2.0], [0], [2]]), obs=np.zeros((4, 5)))
    fields = {"observation": "eyes", "action": "torque"}
    buffer = loaded(Data.at(tmp_path / "a.npz", fields, ActionCode(-2, 2)), tmp_path)
    assert buffer.columns["observation"].shape == (2,) and buffer.column("action")[:, 0].tolist() == [-1, 0, 1, 0]
    with pytest.raises(DataError, match=r"has no 'torqe' for the field action: did you mean 'torque'"):
        loaded(Data.at(tmp_path / "a.npz", {"action": "torqe"}), tmp_path)
    with pytest.raises(DataError, match=r"learning\.fields names the field 'eye'"):
        loaded(Data.at(tmp_path / "a.npz", {"eye": "eyes"}), tmp_path)


def changed(name: str, value: Any) -> dict[str, Any]:
    return {**written.arrays(1, 4), name: value}


def without(name: str) -> dict[str, Any]:
    return {other: value for other, value in written.arrays(1, 4).items() if other != name}


NAN = np.arange(5.0).reshape(5, 1) * np.array([[1.0, 1], [1, 1], [1, np.nan], [1, 1], [1, 1]])
FAULTS: list[tuple[dict[str, Any], str]] = [
    (changed("observations", NAN), "episode 1 (1.npz, the only one): step 2 of observation is nan: expected finite numbers"),
    (changed("rewards", np.array([0, 0, np.inf, 0])), "step 2 of reward is inf"),
    (changed("rewards", np.zeros(3)), "reward has the shape (3,) with 5 observations: expected 4 values, one per step"),
    (changed("actions", np.zeros((4, 2))), "step 0 of action is [0.0, 0.0]: expected a whole number from 0 to 2"),
    (changed("observations", np.zeros((5, 3), np.float32)), "observation is float32 (3,): expected float32 (2,), as in"),
    (changed("observations", np.zeros((5, 2), np.uint8)), "observation is uint8 (2,): expected float32 (2,)"),
    (changed("terminations", np.array([0, 1, 0, 0])), "step 1 of terminated is true, of 4 steps: expected an end"),
    (changed("observations", np.zeros((1, 2), np.float32)), "it is empty: 1 observations: expected 2 or more"),
    (changed("observations", np.array(list("abcde"))), "observation is <U1: expected numbers"),
    (without("rewards"), "it has the fields observation, action"),
    (without("observations"), "expected the field observation"),
]


@pytest.mark.parametrize(("fields", "words"), FAULTS)
def test_a_fault_names_file_episode_step_and_field(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = written.npz_folder(tmp_path / "npz")
    np.savez(folder / "1.npz", **fields)
    with pytest.raises(DataError) as refused:
        loaded(Data.at(folder, code=ActionCode(choices=3)), tmp_path)
    assert words in str(refused.value) and "Fix: " in str(refused.value) and str(folder) in str(refused.value)


def test_actions_beyond_their_bounds_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", obs=np.zeros((4, 2)), act=np.array([[0.5], [1.5], [2]]))
    with pytest.raises(DataError, match=r"step 1 of action is \[1\.5\]: expected numbers from -1\.0 to 1\.0"):
        loaded(Data.at(tmp_path / "a.npz"), tmp_path)


def bomb(file: Path) -> None:
    """Write an array that declares more than it holds."""
    with zipfile.ZipFile(file, "w") as archive, archive.open("obs.npy", "w") as content:
        np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})


def test_foreign_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", obs=np.array([{}, {}], dtype=object))
    (tmp_path / "text.npz").write_text("hello")
    bomb(tmp_path / "bomb.npz")
    for name, words in (("objects", "holds Python objects"), ("text", "File is not a zip file"), ("bomb", "declares 8,796")):
        with pytest.raises(DataError, match="is not an archive of numpy arrays") as refused:
            loaded(Data.at(tmp_path / f"{name}.npz"), tmp_path)
        assert words in str(refused.value)


def test_links_out_of_hdf5_are_refused(tmp_path: Path) -> None:
    import h5py

    other = written.hdf5_groups(tmp_path)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["observations"] = h5py.ExternalLink(str(other), "/data/episode_0/obs/vector")
    with pytest.raises(DataError, match="is a link to another file"):
        loaded(Data.at(tmp_path / "link.h5"), tmp_path)
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(DataError, match="is not a file of HDF5"):
        loaded(Data.at(tmp_path / "text.h5"), tmp_path)


def test_other_things_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    for path, words in ((tmp_path / "none", "there is no data at"), (tmp_path / "a.txt", "has no known format"),
                        (tmp_path, "has no known format")):
        with pytest.raises(DataError, match=words):
            Data.at(path)
