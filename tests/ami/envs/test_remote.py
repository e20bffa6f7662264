"""Environments in a child process: equal numbers; a hang or a crash is a fault and leaves no process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ami.blueprint import Episode
from ami.envs import remote
from ami.envs.world import GymWorld
from ami.errors import AmiError, SettingError
from tests.support import hostile_envs

PACKAGE = "tests.support.hostile_envs:hostile"
FOLDER = f"{Path(hostile_envs.__file__).parent}/"


@pytest.fixture(autouse=True, scope="module")
def no_child_stays() -> Iterator[None]:
    yield
    for child in remote._children:
        child.end()


def begun(name: str, rows: int = 2, **settings: Any) -> GymWorld:
    world = GymWorld(f"{PACKAGE}/{name}-v0", **settings)
    world.set_up(dict(world.infer_dims({})))
    every = torch.ones(rows, dtype=torch.bool)
    world.begin(every, [Episode(row, 7 + row) for row in range(rows)])
    return world


def run(world: GymWorld, ticks: int = 14) -> list[dict[str, torch.Tensor]]:
    action = torch.zeros(2, 3)
    return [world.step(action=action) for _ in range(ticks)]


def test_a_child_gives_equal_numbers() -> None:
    here, there = run(begun("SuccessAtTheEnd")), run(begun("SuccessAtTheEnd", timeout=60))
    assert all(torch.equal(one[port], other[port]) for one, other in zip(here, there, strict=True) for port in one)


def test_a_child_renders_its_environments() -> None:
    world = GymWorld("CartPole-v1", timeout=60, render_mode="rgb_array")
    world.set_up(dict(world.infer_dims({})))
    assert [picture.shape for picture in world.render()] == [(400, 600, 3)]


@pytest.mark.parametrize(("name", "timeout", "expected"), [
    ("Dies", 60, "row 0, tick 6, seed 7: step() raised ConnectionError: simulator lost: port 5005 (hostile_envs.py, line "),
    ("Killed", 60, "row 0, tick 6, seed 7: step() ended the environment's process, with exit code 3. Fix: "),
    ("Hangs", 0.5, "row 0, tick 6, seed 7: step() did not return within 0.5 s (hostile_envs.py, line "),
])
def test_faults_of_a_child(name: str, timeout: float, expected: str) -> None:
    world = begun(name, timeout=60)
    world.rows._seconds = timeout  # the first step of a child under load may be slow
    with pytest.raises(AmiError) as fault:
        run(world)
    assert str(fault.value).replace(FOLDER, "").startswith(f"world {PACKAGE}/{name}-v0, {expected}")
    assert (name == "Dies") is world.rows._child.is_alive


def test_an_invalid_world_gives_the_same_error_in_a_child() -> None:
    words = []
    for timeout in (None, 60):
        with pytest.raises(SettingError) as refused:
            GymWorld("CartPole-v1", timeout=timeout, lenght=3)
        words.append(str(refused.value))
    assert words[0] == words[1]
    with pytest.raises(SettingError, match=r"world.timeout is 0: expected seconds above 0, or null"):
        GymWorld("CartPole-v1", timeout=0)


def test_ctrl_c_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    world = begun("Plain", timeout=60)
    run(world, 1)
    child = world.rows._child

    def interrupted(seconds: float) -> bool:
        raise KeyboardInterrupt

    class Interrupted:
        send, close, poll = child._connection.send, child._connection.close, staticmethod(interrupted)

    monkeypatch.setattr(child, "_connection", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        run(world, 1)
    assert child.process.returncode is not None


def test_a_child_ends_with_a_killed_parent(tmp_path: Path) -> None:
    script = ("import os, signal; from ami.envs.remote import RemoteRows; rows = RemoteRows(60, 'CartPole-v1', 1, {}); "
              "print(rows._child.process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    pid, until = int(done.stdout), time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists() or os.waitpid(pid, os.WNOHANG)
