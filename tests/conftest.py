"""Fixtures and options of all tests: one thread, one Ray cluster per worker, slowest files first."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

FIRST = ("test_readme.py", "test_run.py", "test_negative_controls.py", "test_trainer.py", "test_compare.py")
"""The slowest files: started first, so that none of them runs alone at the end."""

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a script's background job, whose children would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One cluster for all tests that need one; `cluster` itself tries twice."""
    from ami.runtime.ray_cluster import cluster

    with cluster():
        yield


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that nothing is written into the source tree."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def keep_umask() -> Iterator[None]:
    """Restore the umask, which `ami`'s command changes for its whole process."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow; `pytest --slow` runs it"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept-golden", action="store_true", help="overwrite tests/golden with the current traces")
    parser.addoption("--slow", action="store_true", help="also run the slow variants of tests")
