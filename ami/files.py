"""Writing files so that nothing is ever half there: a temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ami.errors import require


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a whole file or nothing. A reader sees the old content or the new, never a part."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write in piece by piece, which gets its name when all of it is written; an error leaves nothing of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_folder(folder: Path, what: str) -> None:
    """Refuse a folder that cannot be written in, before any work is done for it."""
    there = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    fault = "is a file" if not there.is_dir() else "" if os.access(there, os.W_OK | os.X_OK) else "may not be written in"
    require(not fault, f"{what} is '{folder}', but '{there}' {fault}: expected a folder to write in")


@contextmanager
def private_files() -> Iterator[None]:
    """What is made inside this block is for its user alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON, whole or not at all."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")
