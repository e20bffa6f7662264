"""Write: episodes as files of other formats. Actions are written as vectors (`ami.actions.ActionSpace`)."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ami.data.blocks import as_bytes
from ami.data.replay_buffer import ACTION, OBSERVATION, REWARD, TERMINATED, TRUTH, ReplayBuffer
from ami.errors import DataError
from ami.storage.files import whole_file
from ami.terminal.extras import how_to_install

MINARI_NAME = r"[\w-]+-v\d+"
PER_FRAME = (OBSERVATION, TRUTH)
"""The fields with one row more than steps."""
PLURAL = {OBSERVATION: "observations", ACTION: "actions", REWARD: "rewards", TERMINATED: "terminations", TRUTH: "truth"}


def write(buffer: ReplayBuffer, path: Path, form: str) -> Path:
    """Write episodes to a new file of a format.

    Args:
        buffer: the episodes.
        path: the file; a folder NAME-v0 for Minari.
        form: "npz", "hdf5" or "minari".

    Returns:
        What was written.

    Raises:
        DataError: a package is missing, or the name does not fit the format.
    """
    return WRITERS[form](buffer, Path(path))


def _npz(buffer: ReplayBuffer, path: Path) -> Path:
    """Write one archive: the rows of all episodes one after another, and `steps`."""
    with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, column in buffer.columns.items():
            rows = buffer.num_frames - (0 if name in PER_FRAME else buffer.num_episodes)
            dtype = np.dtype(str(column.dtype).removeprefix("torch."))
            with archive.open(f"{PLURAL[name]}.npy", "w", force_zip64=True) as content:
                np.lib.format.write_array_header_1_0(content, {
                    "descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, *column.shape)})
                for episode in _stepwise(buffer):
                    content.write(as_bytes(episode[name]).data)
        with archive.open("steps.npy", "w") as content:
            np.lib.format.write_array(content, buffer.steps.numpy())
    return path


def _hdf5(buffer: ReplayBuffer, path: Path) -> Path:
    """Write a group per episode."""
    try:
        import h5py
    except ImportError:
        raise DataError(f"'{path}' needs h5py, which is not installed. Fix: {how_to_install('data')}") from None
    with whole_file(path) as file, h5py.File(file, "w") as opened:
        for number, episode in enumerate(_stepwise(buffer)):
            for name, rows in episode.items():
                opened[f"episode_{number}/{PLURAL[name]}"] = rows.numpy()
    return path


def _minari(buffer: ReplayBuffer, path: Path) -> Path:
    """Write a data set of Minari, whose name is the folder's."""
    if not re.fullmatch(MINARI_NAME, path.name):
        raise DataError(f"'{path.name}' is no name of a Minari data set: expected NAME-v0. Fix: {path.name}-v0")
    try:
        import minari
        from gymnasium.spaces import Box
        from minari.data_collector.episode_buffer import EpisodeBuffer
    except ImportError:
        raise DataError(f"'{path}' needs minari, which is not installed. Fix: {how_to_install('data')}") from None
    seen, action = buffer.columns[OBSERVATION], buffer.columns[ACTION]
    space = Box(0, 255, seen.shape, np.uint8) if seen.dtype == torch.uint8 else Box(-np.inf, np.inf, seen.shape, np.float32)
    episodes = []
    for number, episode in enumerate(_stepwise(buffer)):
        steps = len(episode[ACTION])
        ended = episode.get(TERMINATED, torch.zeros(steps, dtype=torch.bool)).tolist()
        observed = episode[OBSERVATION].clone().numpy()
        episodes.append(EpisodeBuffer(
            id=number, observations=observed.astype(space.dtype), actions=episode[ACTION].clone().numpy(),
            rewards=episode.get(REWARD, torch.zeros(steps)).tolist(), terminations=ended,
            truncations=[False] * (steps - 1) + [not ended[-1]] if steps else [], infos={}))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _datasets_in(path.parent), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on metadata
        minari.create_dataset_from_buffers(
            path.name, episodes, action_space=Box(-1, 1, action.shape, np.float32), observation_space=space,
            algorithm_name="ami", author="ami", author_email="none", code_permalink="none", description="ami collect",
            jpeg_encoding=False)  # pictures as they were
    return path


@contextmanager
def _datasets_in(folder: Path) -> Iterator[None]:
    name, before = "MINARI_DATASETS_PATH", os.environ.get("MINARI_DATASETS_PATH")
    os.environ[name] = str(folder.absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _stepwise(buffer: ReplayBuffer) -> Iterator[dict[str, Tensor]]:
    """Yield each episode with n + 1 observations and n actions, rewards and flags."""
    for number in range(buffer.num_episodes):
        rows = buffer.episode(number)
        yield {name: value if name in PER_FRAME else value[:-1] if name == ACTION else value[1:]
               for name, value in rows.items()}


WRITERS: Mapping[str, Callable[[ReplayBuffer, Path], Path]] = {"npz": _npz, "hdf5": _hdf5, "minari": _minari}
