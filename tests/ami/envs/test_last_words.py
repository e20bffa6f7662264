"""Last words: an environment that ends the whole process is named by a watching process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ami.envs.last_words import LINE

START = "from ami.envs.last_words import last_words; from ami.envs.patience import expecting; import os, signal\n"
ENDS = [("os._exit(3)", 3), ("os.kill(os.getpid(), signal.SIGSEGV)", -11)]


def ended(script: str) -> tuple[int, str]:
    """Return the exit code of a process, and its output and that of its children."""
    done = subprocess.run([sys.executable, "-c", START + script], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("end", "code"), ENDS)
def test_environment_that_ends_the_process_is_named(end: str, code: int) -> None:
    assert ended(f"with last_words(), expecting('Deadly-v0'):\n    {end}") == (code, LINE.format("Deadly-v0") + "\n")


def test_the_command_line_names_it(in_folder: Path) -> None:
    home = Path(__file__).parents[3]
    command = [sys.executable, "-m", "ami", "run", "world=gym", "world.entry_point=tests.support.hostile_envs:Killed",
               "--allow", "tests.", "world.max_episode_steps=12"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(home)})
    assert done.returncode == 3
    assert done.stderr.endswith(LINE.format("tests.support.hostile_envs:Killed") + "\n")


@pytest.mark.parametrize(("end", "code"), ENDS)
def test_another_end_is_not_attributed_to_an_environment(end: str, code: int) -> None:
    assert ended(f"with last_words():\n    with expecting('Tame-v0'):\n        pass\n    {end}") == (code, "")


def test_a_normal_exit_prints_nothing() -> None:
    assert ended("with last_words(), expecting('Tame-v0'):\n    pass\nraise SystemExit(5)") == (5, "")
