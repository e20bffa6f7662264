"""Store: it is found from any folder, and a run in it by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami.config.compose import compose
from ami.storage.store import default_store, find


@pytest.fixture(autouse=True)
def no_store_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMI_STORE", raising=False)


def test_outside_a_project_the_store_is_in_the_current_folder(in_folder: Path) -> None:
    assert default_store() == "runs" == compose().settings.store


@pytest.mark.parametrize("mark", [".git", "pyproject.toml"])
def test_inside_a_project_the_store_is_in_its_root(in_folder: Path, monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    (in_folder / mark).mkdir()
    inner = in_folder / "notebooks" / "deep"
    inner.mkdir(parents=True)
    assert default_store() == "runs"
    monkeypatch.chdir(inner)
    assert default_store() == str(in_folder / "runs") == compose().plain()["store"]


def test_the_environment_names_the_store(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMI_STORE", "~/agents")
    assert default_store() == str(Path.home() / "agents") == compose().settings.store
    assert compose(["store=here"]).settings.store == "here"


def test_a_run_is_found_by_its_path_or_by_its_name_in_the_store(in_folder: Path) -> None:
    (in_folder / "runs" / "first").mkdir(parents=True)
    assert find("first", "runs") == Path("runs/first") == find("runs/first", "runs")
    (in_folder / "first").mkdir()
    assert find("first", "runs") == Path("first")
    assert find("second", "runs") == Path("second")
