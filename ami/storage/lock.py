"""Locks on folders and files, which the kernel releases however their process ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ami.errors import require

POLL_SECONDS = 0.1


@contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[None]:
    """Hold a lock on a folder during a block.

    Args:
        folder: an existing folder.
        what: the folder's name in the message, "the run".

    Raises:
        SettingError: another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        require(locked(handle), f"another process is at work on {what} '{folder}'. Fix: wait until it has ended, or end it")
        yield
    finally:
        os.close(handle)


def locked(handle: int, seconds: float = 0.0) -> bool:
    """Lock an open file until it is closed; return whether no other process has kept the lock for `seconds`.

    A file system without locks counts as unlocked.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_SECONDS)
        except OSError:
            return True
        else:
            return True
