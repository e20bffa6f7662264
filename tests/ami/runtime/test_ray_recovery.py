"""Recovery under Ray: a process that is killed, stopped or raises is restarted; the trace is that of an undisturbed run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ami
from ami.agent import Agent, Runtime
from ami.blueprint import Episode
from ami.config.compose import to_graph
from ami.errors import GraphError, ModuleError, WorkerLost
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.rollout import rollout
from ami.runtime.build import build_module
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace
from tests.ami.toys import Hand, graph

GROUPS = {"body": ["world", "actor"],
          "mind": ["configurator", "cost", "goal", "memory", "perception", "planner", "world_model"]}
LONGEST = 8
"""The ticks after the first of each of two waves."""


def recovery(**settings: Any) -> Any:
    from ami.runtime.ray_calls import Recovery

    return Recovery(**{"restarts": 3, "seconds": 600.0, "every": 3, **settings})


@pytest.fixture(scope="module")
def agent_graph() -> Graph:
    return to_graph(ami.compose(["planner.num_candidates=8", "planner.num_elites=2", "planner.num_iterations=1"]))


def digest(folder: Path, of: Graph, runtime: Runtime, at: int = -1, does: Callable[[], None] = lambda: None) -> str:
    """Run two waves of two episodes, do something after one of the ticks, and return the digest of the finished trace."""
    write_header(folder, of, seed=0)
    episodes = Manifest.make(build_module(of, "world", 0), 3, 2).episodes()
    with Agent(runtime) as agent:
        for tick, _ in enumerate(rollout(agent, episodes, 2, longest=LONGEST)):
            if tick == at:
                does()
    trace = Trace.open(folder)
    assert not trace.unfinished
    return trace.digest()


@pytest.fixture(scope="module")
def undisturbed(agent_graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("local")
    return digest(folder, agent_graph, LocalRuntime(agent_graph, 0, recorder=TraceLog(folder / "trace")))


SLOW = pytest.mark.slow


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("placement", "group", "signal", "tick"), [
    (GROUPS, "body", signal.SIGKILL, 5),
    pytest.param(GROUPS, "mind", signal.SIGKILL, LONGEST + 2, marks=SLOW),
    pytest.param(GROUPS, "mind", signal.SIGSTOP, 4, marks=SLOW),
    pytest.param("agent", "agent", signal.SIGKILL, LONGEST + 4, marks=SLOW)])
def test_a_lost_process_is_restarted_and_the_digest_is_that_of_an_undisturbed_run(
        placement: Any, group: str, signal: int, tick: int, agent_graph: Graph, undisturbed: str, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    import ray

    from ami.runtime.ray_actors import RayRuntime

    runtime = RayRuntime(agent_graph, 0, placement=placement, trace=tmp_path / "trace", recovery=recovery(timeout=20.0))
    pid = ray.get(runtime.actors[group].__ray_call__.remote(lambda actor: os.getpid()))
    assert digest(tmp_path, agent_graph, runtime, tick, lambda: os.kill(pid, signal)) == undisturbed
    assert "and is restarted (restart 1 of at most 3 within 600 s)" in capsys.readouterr().err


class Moody(Hand):
    """Fails at its third step: it raises or ends its process.

    Args:
        how: "raise" or "exit".
        once: a file; fails only while it does not exist, and makes it before. Empty: fails always.
    """

    def __init__(self, how: str, once: str = "") -> None:
        super().__init__()
        self.how, self.once, self.steps = how, Path(once), 0

    def step(self, plan: Tensor) -> dict[str, Tensor]:
        self.steps += 1
        if self.steps == 3 and not self.once.is_file():
            if self.once.name:
                self.once.touch()
            if self.how == "exit":
                os._exit(3)
            raise ConnectionError("no answer")
        return super().step(plan)


def moody(how: str, once: str = "", **wires: Any) -> Graph:
    return graph({"hand": ModuleSpec(Moody, {"how": how, "once": once})}, hand={"plan": "head.plan", **wires})


def run(of: Graph, runtime: Runtime, folder: Path, ticks: int = 6) -> str:
    write_header(folder, of, seed=0)
    with Agent(runtime) as agent:
        agent.reset(torch.ones(1, dtype=torch.bool), [Episode(7, seed=1)])
        for _ in range(ticks):
            agent.cycle()["eye.reward"]
    return Trace.open(folder).digest()


TOY_GROUPS = {"hands": ["hand"], "rest": ["book", "eye", "head"]}


@pytest.mark.usefixtures("ray_cluster")
def test_a_step_that_raises_once_is_repeated_in_a_new_process(tmp_path: Path) -> None:
    from ami.runtime.ray_actors import RayRuntime

    of = moody("raise", str(tmp_path / "failed"))
    runtime = RayRuntime(of, 0, placement=TOY_GROUPS, trace=tmp_path / "ray" / "trace", watch=("eye.reward",),
                         recovery=recovery())
    found = run(of, runtime, tmp_path / "ray")
    assert (tmp_path / "failed").exists()
    assert found == run(of, LocalRuntime(of, 0, recorder=TraceLog(tmp_path / "local" / "trace"), watch=("eye.reward",)),
                        tmp_path / "local")


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("how", "wires", "error", "words"), [
    ("exit", {"on_failure": "raise"}, WorkerLost, r"^the process of hand died at tick 2: "),
    pytest.param("exit", {}, WorkerLost, r"^1 restart within 600 s did not help: the process of hand died at tick \d: ",
                 marks=SLOW),
    pytest.param("raise", {}, ModuleError, r"^hand\.step\(\) failed at wave 0, tick 2: ConnectionError: no answer",
                 marks=SLOW)])
def test_a_failure_that_stays_ends_the_run(how: str, wires: dict[str, str], error: type[Exception], words: str,
                                           tmp_path: Path) -> None:
    from ami.runtime.ray_actors import RayRuntime

    of = moody(how, **wires)
    with pytest.raises(error, match=words):
        run(of, RayRuntime(of, 0, placement=TOY_GROUPS, watch=("eye.reward",), recovery=recovery(restarts=1)), tmp_path)


def test_a_node_that_holds_its_last_messages_sends_them_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = moody("raise", on_failure="hold_last")
    run(of, LocalRuntime(of, 0, recorder=TraceLog(tmp_path / "trace"), watch=("eye.reward",)), tmp_path)
    trace = Trace.open(tmp_path)
    assert trace.table("hand")["tick"].to_pylist() == [0, 1, 3, 4, 5], "a held tick is not recorded"
    means = trace.table("eye")["reward.rows"].to_pylist()
    assert means[2] == means[3] != means[4], "the eye receives the action of tick 1 at ticks 2 and 3"
    said = capsys.readouterr().err
    assert said.startswith("ami: hand held its last messages at 1 tick at which its step failed. The first: hand.step()")


def test_an_unknown_reaction_and_a_world_that_holds_are_refused() -> None:
    with pytest.raises(GraphError, match=r"hand\.on_failure is 'restrat': did you mean 'restart'"):
        moody("raise", on_failure="restrat")
    with pytest.raises(GraphError, match=r"world\.on_failure is hold_last: a World cannot leave out an action"):
        to_graph(ami.compose(["+graph.world.on_failure=hold_last"]))
