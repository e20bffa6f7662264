"""Cache: experience and trained stages, keyed by the hash of their dependencies.

Every entry can be recomputed, so the folder may be deleted at any time. Its size is limited: the least recently used entries
are deleted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ami.data.episode_folder import EpisodeFolder
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import CheckpointError, DataError
from ami.learning import checkpoint
from ami.learning.checkpoint import Tensors
from ami.storage.limits import in_bytes

LIMIT = 4e9
"""The largest size of a cache, in bytes."""
TEMPORARY = ".tmp"
ENTRIES = (".safetensors", ".episodes")
ABANDONED = 3600.0
"""The age in seconds at which a temporary file or folder is taken for a killed process's, and deleted."""


class Cache:
    """A folder of checkpoints and of episodes, by name.

    Args:
        folder: their folder, made when the first one is stored.
        warn: called with a message if an entry could not be stored or read, which costs only time.
        limit: the largest size in bytes.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda text: None, limit: float = LIMIT) -> None:
        self.folder, self.warn, self.limit = Path(folder), warn, limit

    def file(self, name: str) -> Path:
        """Return the file of an entry."""
        return self.folder / f"{name}.safetensors"

    def find(self, name: str) -> tuple[Tensors, dict[str, Any]] | None:
        """Return an entry's tensors and notes; None if it is missing or damaged."""
        try:
            found = checkpoint.load(self.file(name))
        except CheckpointError as error:
            if self.file(name).exists():
                self.warn(f"{name} in the cache is damaged and is recomputed: " + str(error).partition(". Fix: ")[0])
                _delete(self.file(name))
            return None
        with contextlib.suppress(OSError):  # a shared cache may be read-only
            self.file(name).touch()
        return found

    def keep(self, name: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Store an entry and make room for it; one that is larger than the cache is not stored."""
        if not self._fits(name, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())):
            return
        try:
            checkpoint.save(self.file(name), tensors, notes)
            self._make_room(self.file(name))
        except OSError as error:
            self.warn(f"{name} is not cached in '{self.folder}': {error.strerror}")

    def folder_of(self, name: str) -> Path:
        """Return the folder of an entry's episodes."""
        return self.folder / f"{name}.episodes"

    def find_episodes(self, name: str) -> tuple[ReplayBuffer, dict[str, Any]] | None:
        """Return stored episodes, mapped into memory, and their notes; None if they are missing or damaged."""
        folder = self.folder_of(name)
        if not folder.is_dir():
            return None
        try:
            found = ReplayBuffer.open(folder), EpisodeFolder(folder).notes
        except (DataError, OSError) as error:
            self.warn(f"{name} in the cache is damaged and is recomputed: " + str(error).partition(". Fix: ")[0])
            _delete(folder)
            return None
        with contextlib.suppress(OSError):
            folder.touch()
        return found

    def keep_episodes(self, name: str, episodes: ReplayBuffer, notes: Mapping[str, Any]) -> ReplayBuffer:
        """Store episodes and make room for them.

        Returns:
            The stored episodes, mapped into memory; those that were given if they are larger than the cache or cannot be
            stored.
        """
        if not self._fits(name, episodes.num_bytes):
            return episodes
        folder, temporary = self.folder_of(name), self.folder / f".{name}.{os.getpid()}{TEMPORARY}"
        try:
            episodes.save(temporary)
            EpisodeFolder(temporary).notes = dict(notes)
            _delete(folder)
            temporary.rename(folder)
            self._make_room(folder)
            stored = ReplayBuffer.open(folder)
        except OSError as error:
            self.warn(f"{name} is not cached in '{self.folder}': {error.strerror}")
            if not episodes.num_episodes:  # they were moved
                return ReplayBuffer.open(temporary)
            _delete(temporary)
            return episodes
        return stored

    def growing(self, name: str) -> EpisodeFolder:
        """Return the episodes of an entry, to append to; those that are there already if they are not damaged."""
        try:
            return EpisodeFolder(self.folder_of(name))
        except (DataError, OSError) as error:
            self.warn(f"{name} in the cache is damaged and is collected again: " + str(error).partition(". Fix: ")[0])
            _delete(self.folder_of(name))
            return EpisodeFolder(self.folder_of(name))

    def spill(self, name: str) -> Path:
        """Return a folder for episodes that do not fit into memory; the cache deletes what a killed process leaves."""
        return self.folder / f".{name}.{os.getpid()}.rows{TEMPORARY}"

    def forget(self, start: str) -> None:
        """Delete every entry whose name begins with `start`."""
        for file in self.folder.glob(f"{start}*.safetensors"):
            file.unlink(missing_ok=True)

    def _fits(self, name: str, size: int) -> bool:
        if size > self.limit:
            self.warn(f"{name} is not cached: it has {in_bytes(size)}, the cache holds {in_bytes(self.limit)}")
        return size <= self.limit

    def _make_room(self, newest: Path) -> None:
        """Delete the least recently used entries until the rest fits the limit; never the newest."""
        now, files = time.time(), []
        for file in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                state = file.stat()
                if file.suffix == TEMPORARY and now - state.st_mtime > ABANDONED:
                    _delete(file)
                elif file.suffix in ENTRIES and file != newest:
                    files.append((state.st_mtime, _size(file), file))
        total = _size(newest) + sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= self.limit:
                return
            _delete(file)
            total -= size


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in (entry.iterdir() if entry.is_dir() else [entry]))


def _delete(entry: Path) -> None:
    with contextlib.suppress(OSError):  # a read-only cache, or deleted by another process
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
