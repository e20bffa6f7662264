"""Cache: experience and trained stages, keyed by the hash of their dependencies.

Every entry can be recomputed, so the folder may be deleted at any time. Its size is limited: the least recently used entries
are deleted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ami.errors import CheckpointError
from ami.learning import checkpoint
from ami.learning.checkpoint import Tensors
from ami.storage.limits import in_bytes

LIMIT = 4e9
"""The largest size of a cache, in bytes."""
FOLDER = "cache"
ABANDONED = 3600.0
"""The age in seconds at which a temporary file is taken for a killed process's, and deleted."""


class Cache:
    """A folder of checkpoints, by name.

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
                self._delete(name)
            return None
        with contextlib.suppress(OSError):  # a shared cache may be read-only
            self.file(name).touch()
        return found

    def keep(self, name: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Store an entry and make room for it; one that is larger than the cache is not stored."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if size > self.limit:
            self.warn(f"{name} is not cached: it has {in_bytes(size)}, the cache holds {in_bytes(self.limit)}")
            return
        try:
            checkpoint.save(self.file(name), tensors, notes)
            self._make_room(self.file(name))
        except OSError as error:
            self.warn(f"{name} is not cached in '{self.folder}': {error.strerror}")

    def forget(self, start: str) -> None:
        """Delete every entry whose name begins with `start`."""
        for file in self.folder.glob(f"{start}*.safetensors"):
            file.unlink(missing_ok=True)

    def _delete(self, name: str) -> None:
        with contextlib.suppress(OSError):  # a read-only cache, or a folder of that name: the entry is recomputed
            self.file(name).unlink(missing_ok=True)

    def _make_room(self, newest: Path) -> None:
        """Delete the least recently used entries until the rest fits the limit; never the newest."""
        now, files = time.time(), []
        for file in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                state = file.stat()
                if file.suffix == ".tmp" and now - state.st_mtime > ABANDONED:
                    file.unlink(missing_ok=True)
                elif file.suffix == ".safetensors" and file != newest:
                    files.append((state.st_mtime, state.st_size, file))
        total = newest.stat().st_size + sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= self.limit:
                return
            file.unlink(missing_ok=True)
            total -= size
