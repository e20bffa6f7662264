"""Store: the folder that holds runs, trained agents and MLflow's database, found from any folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ENVIRONMENT = "AMI_STORE"
FOLDER, CACHE = "runs", "cache"
"""The folder's name, and that of the folder in it whose content can be recomputed."""
ROOT_MARKS = (".git", "pyproject.toml")
"""A folder that holds one of these is a project's root."""


def default_store() -> str:
    """Return the folder AMI_STORE; else `runs` in the root of the surrounding project; else `runs` in the current folder.

    The path is relative if the root is the current folder, so that messages stay short.
    """
    named = os.environ.get(ENVIRONMENT, "").strip()
    if named:
        return str(Path(named).expanduser())
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if any((folder / mark).exists() for mark in ROOT_MARKS)), here)
    return FOLDER if root == here else str(root / FOLDER)


def find(name: str | Path, store: str | Path) -> Path:
    """Find a run, file or folder by its path, else by its name in the store.

    Returns:
        The path found, else the given path.
    """
    given = Path(name).expanduser()
    return next((path for path in _places(given, Path(store)) if path.exists()), given)


def _places(given: Path, store: Path) -> Iterator[Path]:
    yield given
    if not given.is_absolute():
        yield store / given
