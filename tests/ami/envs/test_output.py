"""The output of environments is separated from ami's own."""

from __future__ import annotations

import threading

import pytest

from ami.envs.output import apart, inside_environment
from tests.ami.envs.test_hostile_envs import outcome


def test_output_of_an_environment_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with apart():
        print("a table")
        found = outcome("Prints", {})
        print(found)
    shown = capsys.readouterr()
    assert shown.out == "a table\nruns 12 steps, return 12\n" and "step 11\n" in shown.err


def test_output_of_another_thread_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with apart(), inside_environment():
        other = threading.Thread(target=print, args=("progress",))
        other.start()
        other.join()
        print("noise")
    assert capsys.readouterr() == ("progress\n", "noise\n")
