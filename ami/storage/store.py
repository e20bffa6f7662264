"""Store: the folder that keeps runs, trained agents and MLflow's database, and how it is found from any folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ENVIRONMENT = "AMI_STORE"
FOLDER = "runs"
ROOT_MARKS = (".git", "pyproject.toml")
"""A folder that holds one of these is a project's root."""


def default_store() -> str:
    """The folder of AMI_STORE; without it `runs` in the root of the project around the current folder; else `runs` here.

    Relative to the current folder where it lies below it, so that messages stay short.
    """
    named = os.environ.get(ENVIRONMENT, "").strip()
    if named:
        return str(Path(named).expanduser())
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if any((folder / mark).exists() for mark in ROOT_MARKS)), here)
    return FOLDER if root == here else str(root / FOLDER)


def find(name: str | Path, store: str | Path) -> Path:
    """A run, file or folder by its path or, where there is none, by its name in the store.

    Returns:
        The path; it need not exist, and is then the path that was given.
    """
    given = Path(name).expanduser()
    return next((path for path in _places(given, Path(store)) if path.exists()), given)


def _places(given: Path, store: Path) -> Iterator[Path]:
    yield given
    if not given.is_absolute():
        yield store / given
