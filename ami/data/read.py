"""Read: the episodes at a path, whatever its format, as a `ReplayBuffer`.

    a folder with episodes.jsonl         ami's own format, which `ami collect` writes
    a folder with meta/info.json         LeRobot
    a folder with metadata.json, data/   Minari
    NAME.npz, a folder of them           numpy
    NAME-idx3-ubyte, NAME.idx, or .gz    idx, as MNIST
    NAME.hdf5, NAME.h5                   HDF5
    NAME.mp4 and others, a folder        video
    a folder of pictures, or of folders  pictures
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ami.data.episode_folder import INDEX, EpisodeFolder
from ami.data.formats import hdf5, idx, lerobot, minari_set, npz, pictures, video
from ami.data.recording import ActionCode, Checker, Recording, check_finite
from ami.data.replay_buffer import ACTION, ReplayBuffer
from ami.errors import DataError

OWN = "ami"
Read = Callable[[Path, Mapping[str, str]], Iterator[Recording]]
EXPECTED = ("expected a folder of `ami collect`, Minari, LeRobot, pictures, videos or npz files, or a file .npz, .hdf5, "
            ".h5, .mp4, .idx, -idx3-ubyte.gz")


@dataclass(frozen=True)
class Data:
    """A file, or folder, of episodes.

    Attributes:
        path: where it is.
        kind: its format: "ami", "npz", "hdf5", "idx", "minari", "lerobot", "pictures" or "video".
        fields: names of arrays given by the user, by field.
        code: how it writes actions; None: whole numbers are the alternatives that occur, other numbers are in [-1, 1].
        least_choices: the least number of alternatives, if `code` is None.
    """

    path: Path
    kind: str
    fields: Mapping[str, str]
    code: ActionCode | None = None
    least_choices: int = 0

    @classmethod
    def at(cls, path: Path, fields: Mapping[str, str] | None = None, code: ActionCode | None = None,
           least_choices: int = 0) -> Data:
        """Return the data at a path.

        Raises:
            DataError: there is nothing, or something of another format.
        """
        path = Path(path).expanduser()
        if not path.exists():
            raise DataError(f"there is no data at '{path}': {EXPECTED}. Fix: the path of your data")
        kind = _kind_of(path)
        if kind is None:
            raise DataError(f"'{path}' has no known format: {EXPECTED}")
        if code is None and kind == "minari":
            code = minari_set.code_of(path)
        return cls(path, kind, dict(fields or {}), code, least_choices)

    @property
    def key(self) -> str:
        """A hash that changes with the data: over the index of ami's own format, which has a checksum per episode; else over
        the names, sizes and times of all files."""
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        if self.kind == "idx":
            files += [file for file in [idx.labels_of(self.path, self.fields)] if file is not None]
        stated = [(os.path.relpath(file, self.path), *_state(file)) for file in files if file.is_file()]
        content: Any = (self.path / INDEX).read_bytes() if self.kind == OWN else repr(stated).encode()
        how = repr((self.kind, sorted(self.fields.items()), self.code, self.least_choices)).encode()
        return hashlib.sha256(content + how).hexdigest()[:16]

    @cached_property
    def action_code(self) -> ActionCode:
        """How actions are written: as given, or found out from all of them."""
        return self.code or (ActionCode() if self.kind == OWN else self._code())

    @cached_property
    def choices(self) -> tuple[int, ...]:
        """The number of alternatives of each choice of an action; () if it is numbers alone, or unknown."""
        if self.kind == OWN:
            stated = EpisodeFolder(self.path).notes.get("choices", [])
            return tuple(int(count) for count in stated) if isinstance(stated, list) else ()
        return (self.action_code.choices,) if self.action_code.choices else ()

    def recordings(self) -> Iterator[Recording]:
        """Yield the episodes as the files hold them."""
        return _READERS[self.kind](self.path, self.fields)

    def episodes(self) -> Iterator[dict[str, Tensor]]:
        """Check every episode and yield its rows (n + 1, …) by field; raises as `load` does."""
        if self.kind == OWN:
            for number, rows in enumerate(EpisodeFolder(self.path).episodes()):
                check_finite(self.path, number, rows)
                yield rows
            return
        checker = Checker(self.path, self.action_code)
        yield from map(checker.rows, self.recordings())

    def load(self, memory: float, folder: Path, on_episode: Callable[[int], None] = lambda number: None) -> ReplayBuffer:
        """Check every episode and return them all.

        Args:
            memory: bytes of rows in memory; beyond it they are in `folder`.
            folder: a folder that does not exist yet.
            on_episode: called with the number of episodes read.

        Raises:
            DataError: names the file, episode, step and field that cannot be learnt from.
        """
        buffer, count = ReplayBuffer(memory=memory, folder=folder), 0
        for rows in self.episodes():
            if self.kind != OWN:
                buffer.append(rows)
            count += 1
            on_episode(count)
        if not count:
            raise DataError(f"'{self.path}' holds no episodes: expected at least one.")
        return ReplayBuffer.open(self.path) if self.kind == OWN else buffer

    def _code(self) -> ActionCode:
        """Return the code of actions that the file does not state, from all of them."""
        most, least = -1, 0
        for recording in self.recordings():
            actions = np.asarray(recording.fields.get(ACTION, np.zeros((0, 0), np.float32)))
            if actions.dtype.kind not in "iub" or actions.ndim > 2 or (actions.ndim == 2 and actions.shape[1] != 1):
                return ActionCode()
            if actions.size:
                most, least = max(most, int(actions.max())), min(least, int(actions.min()))
        return ActionCode(choices=max(most - least + 1, self.least_choices), start=least) if most >= 0 else ActionCode()


def _kind_of(path: Path) -> str | None:
    """Return the format of what is at a path."""
    if path.is_file():
        if idx.fits(path):
            return "idx"
        ending = path.suffix.lower()
        return {".npz": "npz", ".hdf5": "hdf5", ".h5": "hdf5"}.get(ending, "video" if video.fits(path) else None)
    if (path / INDEX).exists():
        return OWN
    if lerobot.fits(path):
        return "lerobot"
    if minari_set.fits(path):
        return "minari"
    if pictures.fits(path):
        return "pictures"
    if video.fits(path):
        return "video"
    return "npz" if any(path.glob("*.npz")) else None


def _state(file: Path) -> tuple[int, int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns


_READERS: Mapping[str, Read] = {"npz": npz.read, "hdf5": hdf5.read, "idx": idx.read, "minari": minari_set.read,
                                "lerobot": lerobot.read, "pictures": pictures.read, "video": video.read}
