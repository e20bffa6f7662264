"""Last words: an environment that ends the whole process is named by a watching process."""

from __future__ import annotations

import subprocess
import sys

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


@pytest.mark.parametrize(("end", "code"), ENDS)
def test_another_end_is_not_attributed_to_an_environment(end: str, code: int) -> None:
    assert ended(f"with last_words():\n    with expecting('Tame-v0'):\n        pass\n    {end}") == (code, "")


def test_a_normal_exit_prints_nothing() -> None:
    assert ended("with last_words(), expecting('Tame-v0'):\n    pass\nraise SystemExit(5)") == (5, "")
