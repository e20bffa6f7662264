"""Patience: an environment that does not return is named once, with the setting that ends such a step."""

from __future__ import annotations

import time

import pytest

from ami.envs import patience


def test_environment_that_does_not_return_is_named_once(monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.06)
    monkeypatch.setattr(patience, "_noted", set())
    monkeypatch.setattr(patience, "_lookouts", [])  # a separate thread from those of other worlds
    with patience.expecting("Quick-v0"):
        pass
    with patience.expecting("Slow-v0"):
        time.sleep(0.3)
    assert capsys.readouterr().err == (
        "ami: world Slow-v0 has not returned for 0 s; still waiting. Fix if it hangs: Ctrl-C, then world.timeout=60, "
        "which ends such a step and reports where it hung\n")
    assert not patience._at_work
