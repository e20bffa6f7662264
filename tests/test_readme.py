"""Every block of the README and of docs/own_world.md runs as written, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
OWN_WORLD = README.parent / "docs" / "own_world.md"


def blocks_of(document: Path) -> list[tuple[str, str]]:
    """Return the fenced blocks of a document: language and text."""
    return re.findall(r"^```(\w*)\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


BLOCKS = blocks_of(README)


def test_makefile_has_the_two_commands() -> None:
    commands = [line.split("#")[0].strip() for language, block in BLOCKS if not language for line in block.splitlines()]
    assert commands == ["make demo", "make test"]
    makefile = (README.parent / "Makefile").read_text()
    assert all(f"\n{command.removeprefix('make ')}:" in makefile for command in commands)


def test_links_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text()):
        assert (README.parent / target).exists(), f"README links to {target}, which does not exist"


def test_planner_has_at_most_25_lines() -> None:
    (planner,) = [block for language, block in BLOCKS if block.startswith("# mypkg.py")]
    assert len(planner.strip().splitlines()) <= 25


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("document", [README, OWN_WORLD], ids=lambda document: document.name)
def test_every_block_runs(document: Path, in_folder: Path) -> None:
    # equivalent to `source .venv/bin/activate`
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    for language, block in blocks_of(document):
        if block.startswith("# ") and ".py\n" in block:
            (in_folder / block.splitlines()[0].removeprefix("# ")).write_text(block)
        elif language in ("bash", "python"):
            command = ["bash", "-euc", block] if language == "bash" else [sys.executable, "-c", block]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
