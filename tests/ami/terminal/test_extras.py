"""Extras: the printed install command works in a clone and with a wheel."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from ami.terminal.extras import how_to_install

REQUIRES = ["torch>=2.10", 'gymnasium[box2d,classic-control]>=1.2; extra == "worlds"', 'minigrid>=3; extra == "worlds"',
            'mujoco<4,>=3; extra == "mujoco"']


def test_a_clone_installs_itself(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert how_to_install("worlds", tmp_path) == f"pip install -c constraints.txt -e '.[worlds]', in {tmp_path}"


def test_a_wheel_names_the_packages_of_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", {"ami-sim": REQUIRES}.__getitem__)
    assert how_to_install("worlds", tmp_path) == "pip install 'gymnasium[box2d,classic-control]>=1.2' 'minigrid>=3'"
    assert how_to_install("mujoco", tmp_path) == "pip install 'mujoco<4,>=3'"


def test_without_an_installed_distribution_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert how_to_install("worlds", tmp_path) == "the packages of ami's extra 'worlds'"
