"""Faults under Ray: a module that raises, exits or hangs in its actor, servers that die, a driver that is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode
from ami.errors import ModuleError, PortError, WorkerLost
from ami.graph.spec import ModuleSpec
from tests.ami.toys import Hand, graph

HOME = Path(__file__).parents[3]


class Faulty(Hand):
    """Fails at tick 2, or while it is built."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.ticks = how, 0

    def build(self, dims: object) -> None:
        self.answer = torch.nn.Parameter(torch.ones(2))
        if self.how == "unmade":
            raise ZeroDivisionError("in build")

    def step(self, plan: Tensor) -> dict[str, Tensor]:
        self.ticks += 1
        if self.ticks == 3:
            if self.how == "raise":
                raise Unpicklable(lambda: None)
            if self.how == "exit":
                sys.exit(3)
            if self.how == "die":
                os._exit(3)
            if self.how == "hang":
                time.sleep(60)
            if self.how == "nan":
                return {"action": plan[:, 0] * torch.nan}
        if self.how == "gradient":
            return {"action": self.answer.expand(len(plan), 2)}
        return super().step(plan)


class Unpicklable(Exception):
    pass


def run(how: str, ticks: int = 4) -> None:
    from ami.runtime.ray_actors import RayRuntime

    faulty = graph({"hand": ModuleSpec(Faulty, {"how": how})})
    groups = {"hands": ["hand"], "rest": ["book", "eye", "head"]}
    with Agent(RayRuntime(faulty, 0, placement=groups, watch=("eye.reward",))) as agent:
        agent.reset(torch.ones(1, dtype=torch.bool), [Episode(7, seed=1)])
        for _ in range(ticks):
            agent.cycle()["eye.reward"]


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("how", "error", "words"), [
    ("raise", ModuleError, r"^hand\.step\(\) failed at wave 0, tick 2: Unpicklable: .*/test_ray_faults\.py, line \d+, in "),
    pytest.param("exit", ModuleError, r"^hand\.step\(\) failed at wave 0, tick 2: it called sys\.exit\(3\)",
                 marks=pytest.mark.slow),
    pytest.param("nan", PortError, r"^at wave 0, tick 2 hand\.action is nan in row 0 \(episode 7\)", marks=pytest.mark.slow),
    ("unmade", ModuleError, r"^hand: build\(\) failed: ZeroDivisionError: in build \("),
    ("die", WorkerLost, r"^the process of hand died at tick 2: killed by kill -9 or for lack of memory, or ended by its own "
                        r"code, with os\._exit\(\) .* Fix: run again; if it dies again, runtime=local shows where"),
])
def test_reports_a_fault_in_an_actor_with_node_and_tick(how: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as failed:
        run(how)
    if how == "raise":
        assert "raise Unpicklable(lambda: None)" in str(failed.value.__cause__), "the actor's own traceback is lost"


@pytest.mark.usefixtures("ray_cluster")
def test_an_output_with_a_gradient_is_sent() -> None:
    run("gradient")


@pytest.mark.usefixtures("ray_cluster")
def test_reports_a_long_wait_and_kills_a_hung_actor(monkeypatch: pytest.MonkeyPatch,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    from ami.runtime import ray_actors, ray_supervisor
    from ami.runtime.ray_actors import RayRuntime

    monkeypatch.setattr(ray_actors, "CLOSE_SECONDS", 0.5)
    monkeypatch.setattr(ray_supervisor, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(ray_supervisor, "NOTICE_SECONDS", 0.2)
    hung = RayRuntime(graph({"hand": ModuleSpec(Faulty, {"how": "hang"})}), 0, placement="module", watch=("hand.action",))
    monkeypatch.setattr(hung.supervisor, "_look", lambda: reported() and stop())

    def reported() -> bool:
        return "waiting for hand at tick 2" in capsys.readouterr().err

    def stop() -> None:
        raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Agent(hung) as agent:
        agent.reset(torch.ones(1, dtype=torch.bool), [Episode(7, seed=1)])
        for _ in range(3):
            agent.cycle()["hand.action"]
    assert time.monotonic() - begun < 30
    assert capsys.readouterr().err == ("ami: hand did not stop within 0 s and was killed: it is still in a step, or "
                                       "cut off. Up to the last second of its trace is missing\n")


DRIVER = """
import sys, torch
from ami.agent import Agent
from ami.blueprint import Episode
from ami.cli.main import main
from ami.runtime.ray_actors import RayRuntime
from ami.runtime.ray_cluster import cluster
from tests.ami.toys import graph
import ami.cli.main
import ray

def live(words):
    with cluster(), Agent(RayRuntime(graph(), 0, placement="agent", watch=("eye.reward",))) as agent:
        servers = ray._private.worker._global_node.all_processes
        print(servers["gcs_server"][0].process.pid, flush=True)
        while True:
            agent.reset(torch.ones(1, dtype=torch.bool), [Episode(7, seed=1)])
            for _ in range(4):
                agent.cycle()["eye.reward"]

ami.cli.main._dispatch = live
sys.exit(main([]))
"""


@pytest.fixture
def driver():
    """A process that runs an agent in its own Ray cluster; its remaining processes are killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               cwd=HOME)
    gcs = int(process.stdout.readline())
    family = psutil.Process(process.pid).children(recursive=True)
    yield process, gcs, family
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.kill()
    with process:
        pass


def running(family: list[psutil.Process]) -> list[str]:
    return [each.name() for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def seconds_until_gone(family: list[psutil.Process], limit: float) -> float:
    begun = time.monotonic()
    while running(family) and time.monotonic() - begun < limit:
        time.sleep(0.1)
    return time.monotonic() - begun


def test_no_ray_process_outlives_a_killed_driver_by_ten_seconds(driver) -> None:
    process, _, family = driver
    assert len(family) > 5
    process.kill()
    seconds = seconds_until_gone(family, 30)
    assert seconds <= 10, running(family)


def test_a_dead_gcs_is_one_line_at_once_and_leaves_no_process(driver) -> None:
    process, gcs, family = driver
    begun = time.monotonic()
    os.kill(gcs, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    seconds = time.monotonic() - begun
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith("ami: Ray's gcs_server died: it was killed, or the machine is out "), err
    assert "Traceback" not in err and seconds < 30
    assert seconds_until_gone(family, 15) < 10, running(family)
