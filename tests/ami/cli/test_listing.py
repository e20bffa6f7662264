"""`ami list` warns of a user's folder of options that has no group's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami.cli.main import main


def test_misspelt_group_folder_raises_a_warning(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for group in ("planer", "planner", "notes"):
        (in_folder / "mine" / group).mkdir(parents=True)
    for group in ("planer", "planner"):
        (in_folder / "mine" / group / "own.yaml").write_text("# My planner.\n_target_: modules.planner.cem.CEM\n")
    assert main(["list", "modules", "--config-dir", "mine"]) == 0
    listed = capsys.readouterr()
    folder = in_folder / "mine" / "planer"
    assert listed.err == f"warning: '{folder}' holds options and is no group: did you mean 'planner'? Fix: rename it\n"
    assert f"own                    My planner. ({in_folder / 'mine'})" in listed.out
