"""Cache: experience and stages of learning, each found again by the hash of what it depends on.

Everything in it can be made anew, so the folder may be deleted at any time. It is bounded: what was used least recently
goes.
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
"""The bytes that a cache holds at most."""
FOLDER = "cache"
ABANDONED = 3600.0
"""After so many seconds a file that a killed process was writing is nobody's."""


class Cache:
    """A folder of checkpoints, by name.

    Args:
        folder: where they are; made when the first one is kept.
        warn: is called with what could not be kept or read, and why: nothing but time is lost by it.
        limit: the bytes it holds at most.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda text: None, limit: float = LIMIT) -> None:
        self.folder, self.warn, self.limit = Path(folder), warn, limit

    def file(self, name: str) -> Path:
        """Where something of this name is kept."""
        return self.folder / f"{name}.safetensors"

    def find(self, name: str) -> tuple[Tensors, dict[str, Any]] | None:
        """What was kept, as tensors and notes; None where there is nothing, or where the disk spoilt it."""
        try:
            found = checkpoint.load(self.file(name))
        except CheckpointError as error:
            if self.file(name).exists():
                self.warn(f"{name} in the cache is damaged and is made anew: " + str(error).partition(". Fix: ")[0])
                self._delete(name)
            return None
        with contextlib.suppress(OSError):  # somebody else's store may be read-only
            self.file(name).touch()
        return found

    def keep(self, name: str, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Keep something, and make room for it. What is larger than the cache is not kept."""
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
        """Delete everything whose name begins so."""
        for file in self.folder.glob(f"{start}*.safetensors"):
            file.unlink(missing_ok=True)

    def _delete(self, name: str) -> None:
        with contextlib.suppress(OSError):  # somebody else's store, or a folder of that name: it is made anew all the same
            self.file(name).unlink(missing_ok=True)

    def _make_room(self, newest: Path) -> None:
        """Delete what was used least recently, until the rest is within the limit; never the newest."""
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
