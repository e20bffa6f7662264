"""The same seed gives the same trace digest, in every runtime and under every placement, for every shipped agent."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import psutil
import pytest
import torch

import ami
from ami.agent import Agent, Runtime
from ami.blueprint import Episode
from ami.config.compose import compose_baseline, to_graph
from ami.errors import SettingError, WorkerLost
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.graph.partition import Segment
from ami.rollout import rollout
from ami.runtime.build import build_module
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime
from ami.runtime.worker import Worker
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace

AGENTS = ("jepa", "random", "straight_line", "oracle")
ONE_AND_SLOW_OTHERS = ["jepa", *(pytest.param(name, marks=pytest.mark.slow) for name in AGENTS if name != "jepa")]
GROUPS = {"body": ["world", "actor"],
          "cognitive": ["configurator", "cost", "goal", "memory", "perception", "planner", "world_model"]}
TICKS = 6


def graph_of(agent: str) -> Graph:
    return to_graph(compose_baseline(ami.compose(), agent))


def episodes_of(graph: Graph, count: int) -> list[Episode]:
    return Manifest.make(build_module(graph, "world", 0), 3, (count + 1) // 2).episodes()[:count]


def other_weights(graph: Graph) -> Weights:
    """Return weights other than the initial ones: a runtime or replica without them changes the digest."""
    return {node: module.state_dict() for node, module in Worker(graph, graph.order, 99).modules.items()}


def digest(folder: Path, graph: Graph, runtime: Runtime, episodes: list[Episode]) -> str:
    write_header(folder, graph, seed=0)
    with Agent(runtime) as agent:
        agent.reset(torch.ones(len(episodes), dtype=torch.bool), episodes)
        for _ in range(TICKS):
            agent.cycle()
    return Trace.open(folder).digest()


def local_digest(folder: Path, graph: Graph, episodes: list[Episode]) -> str:
    return digest(folder, graph, LocalRuntime(graph, 0, other_weights(graph), TraceLog(folder / "trace")), episodes)


@pytest.mark.parametrize("agent", AGENTS)
def test_same_seed_same_digest_in_one_process(agent: str, tmp_path: Path) -> None:
    graph = graph_of(agent)
    episodes = episodes_of(graph, 2)
    assert local_digest(tmp_path / "a", graph, episodes) == local_digest(tmp_path / "b", graph, episodes)


def test_other_weights_give_another_digest(tmp_path: Path) -> None:
    graph = graph_of("jepa")
    episodes = episodes_of(graph, 2)
    initial = digest(tmp_path / "b", graph, LocalRuntime(graph, 0, recorder=TraceLog(tmp_path / "b" / "trace")), episodes)
    assert local_digest(tmp_path / "a", graph, episodes) != initial


def test_another_seed_gives_another_digest(tmp_path: Path) -> None:
    graph = graph_of("jepa")
    episodes = episodes_of(graph, 2)
    other = digest(tmp_path / "b", graph, LocalRuntime(graph, 1, recorder=TraceLog(tmp_path / "b" / "trace")), episodes)
    assert local_digest(tmp_path / "a", graph, episodes) != other


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("batch", [1, 50])
@pytest.mark.parametrize("placement", ["auto", "agent", "groups"])
@pytest.mark.parametrize("agent", ONE_AND_SLOW_OTHERS)
def test_ray_gives_the_local_digest(agent: str, placement: str, batch: int, tmp_path: Path) -> None:
    from ami.runtime.ray_actors import RayRuntime

    graph = graph_of(agent)
    episodes = episodes_of(graph, batch)
    runtime = RayRuntime(graph, 0, other_weights(graph), GROUPS if placement == "groups" else placement,
                         trace=tmp_path / "ray" / "trace")
    assert digest(tmp_path / "ray", graph, runtime, episodes) == local_digest(tmp_path / "local", graph, episodes)


@pytest.mark.usefixtures("ray_cluster")
def test_an_actor_of_a_whole_agent_runs_many_ticks_per_call_and_none_too_many(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ami.runtime.ray_actors import Ahead, RayRuntime

    handles: list[tuple[Ahead, int]] = []
    real = RayRuntime._fired_ahead

    def noted(self: RayRuntime, segment: Segment, tick: int, most: int) -> tuple[Ahead, int]:
        handles.append(real(self, segment, tick, most))
        return handles[-1]

    monkeypatch.setattr(RayRuntime, "_fired_ahead", noted)
    graph = to_graph(ami.compose(["agent=random"]))
    episodes, digests = episodes_of(graph, 3), []
    for name in ("ray", "local"):
        folder = tmp_path / name
        write_header(folder, graph, seed=0)
        runtime = (RayRuntime(graph, 0, placement="agent", trace=folder / "trace") if name == "ray" else
                   LocalRuntime(graph, 0, recorder=TraceLog(folder / "trace")))
        with Agent(runtime) as agent:
            ticks = sum(1 for _ in rollout(agent, episodes, 2, longest=37))
        digests.append(Trace.open(folder).digest())
    assert digests[0] == digests[1], "ticks that nobody asked for would be recorded"
    assert len(handles) == ticks and len({ahead.call.ref for ahead, _ in handles}) <= ticks // 10


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("agent", ONE_AND_SLOW_OTHERS)
def test_ray_by_module_gives_the_local_digest(agent: str, tmp_path: Path) -> None:
    from ami.runtime.ray_actors import RayRuntime

    graph = graph_of(agent)
    runtime = RayRuntime(graph, 0, other_weights(graph), "module", tmp_path / "ray" / "trace")
    # two batches in one set of actors: starting nine processes is the slow part
    batches = []
    with Agent(runtime) as running:
        for batch in (1, 50):
            episodes = episodes_of(graph, batch)
            running.reset(torch.ones(batch, dtype=torch.bool), episodes, wave=batch)
            for _ in range(TICKS):
                outputs = running.cycle()
            assert outputs["world.success"].shape == (batch,)
            batches.append(episodes)
    write_header(tmp_path / "ray", graph, seed=0)
    local = tmp_path / "local"
    write_header(local, graph, seed=0)
    with Agent(LocalRuntime(graph, 0, other_weights(graph), TraceLog(local / "trace"))) as running:
        for batch, episodes in zip((1, 50), batches, strict=True):
            running.reset(torch.ones(batch, dtype=torch.bool), episodes, wave=batch)
            for _ in range(TICKS):
                running.cycle()
    difference = Trace.open(tmp_path / "ray").compare(Trace.open(local))
    assert difference is None, str(difference)


@pytest.mark.usefixtures("ray_cluster")
def test_a_mode_switching_agent_that_plans_from_its_policy_gives_the_local_digest(tmp_path: Path) -> None:
    from ami.runtime.ray_actors import RayRuntime

    graph = to_graph(ami.compose(["experiment=short_term", "actor=policy", "configurator=surprise_gate",
                                  "configurator.patience=1", "graph.planner.calls.policy=actor"]))
    episodes = episodes_of(graph, 6)
    runtime = RayRuntime(graph, 0, other_weights(graph), GROUPS, trace=tmp_path / "ray" / "trace")
    assert digest(tmp_path / "ray", graph, runtime, episodes) == local_digest(tmp_path / "local", graph, episodes)


@pytest.mark.usefixtures("ray_cluster")
def test_an_error_in_an_actor_is_raised_in_the_driver() -> None:
    from ami.runtime.ray_actors import RayRuntime

    graph = to_graph(ami.compose(["configurator.mode=1"]))
    with Agent(RayRuntime(graph, 0, placement="agent")) as agent:
        agent.reset(torch.ones(1, dtype=torch.bool), episodes_of(graph, 1))
        with pytest.raises(SettingError, match=r"mode 1 \(react\)"):
            agent.cycle()["world.success"]


@pytest.mark.usefixtures("ray_cluster")
def test_a_dead_process_ends_the_run_and_keeps_the_other_traces(tmp_path: Path) -> None:
    import ray

    from ami.runtime.ray_actors import RayRuntime

    graph = graph_of("jepa")
    groups = {"memory": ["memory"], "rest": [node for node in graph.order if node != "memory"]}
    runtime = RayRuntime(graph, 0, placement=groups, trace=tmp_path / "trace")
    write_header(tmp_path, graph, seed=0)
    words = r"^the process of memory died at tick \d+: .* Fix: run again"
    with pytest.raises(WorkerLost, match=words), Agent(runtime) as agent:
        agent.reset(torch.ones(1, dtype=torch.bool), episodes_of(graph, 1))
        agent.cycle()["world.success"]
        ray.kill(runtime.actors["memory"])
        for _ in range(50):
            agent.cycle()["world.success"]
    assert len(Trace.open(tmp_path).frame("world")) >= 1


@pytest.mark.usefixtures("ray_cluster")
def test_a_partial_reset_is_the_same_in_any_number_of_processes(tmp_path: Path) -> None:
    from ami.runtime.ray_actors import RayRuntime

    graph = graph_of("jepa")
    episodes = episodes_of(graph, 3)
    for name, runtime in (("ray", RayRuntime(graph, 0, placement=GROUPS, trace=tmp_path / "ray" / "trace")),
                          ("local", LocalRuntime(graph, 0, recorder=TraceLog(tmp_path / "local" / "trace")))):
        write_header(tmp_path / name, graph, seed=0)
        with Agent(runtime) as agent:
            agent.reset(torch.ones(2, dtype=torch.bool), episodes[:2])
            for tick in range(TICKS):
                if tick == 3:
                    agent.reset(torch.tensor([False, True]), [episodes[0], episodes[2]])
                agent.cycle()
    difference = Trace.open(tmp_path / "ray").compare(Trace.open(tmp_path / "local"))
    assert difference is None, str(difference)


@pytest.mark.usefixtures("ray_cluster")
def test_every_listener_of_ray_is_on_loopback() -> None:
    """Read the kernel's tables of listening sockets and their addresses in this network namespace."""
    ours = {process.pid for process in psutil.Process().children(recursive=True)}
    addresses = {connection.laddr.ip for connection in psutil.net_connections("tcp")
                 if connection.status == psutil.CONN_LISTEN and connection.pid in ours}
    assert addresses, "Ray listens nowhere: this test reads the wrong processes"
    away = {text for text in addresses if not _is_loopback(text)}
    assert not away, f"Ray listens beyond this machine, on {away}"


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def test_an_episode_does_not_depend_on_its_batch() -> None:
    """Alone or in a batch of 50: the same actions within a tolerance; batched arithmetic may move a last bit."""
    graph = graph_of("jepa")
    episodes = episodes_of(graph, 50)
    seen: dict[int, list[torch.Tensor]] = {}
    for batch in (1, 50):
        runtime = LocalRuntime(graph, 0, watch=("actor.action",))
        with Agent(runtime) as agent:
            agent.reset(torch.ones(batch, dtype=torch.bool), episodes[-1:] if batch == 1 else episodes)
            seen[batch] = [agent.cycle()["actor.action"][-1] for _ in range(TICKS)]
    torch.testing.assert_close(torch.stack(seen[1]), torch.stack(seen[50]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("placement", "words"), [
    ("modul", "placement is 'modul': did you mean 'module'?"),
    ({"a": ["wrld"]}, "placement puts the unknown node 'wrld' in 'a': did you mean 'world'?"),
    ({"a": ["world"]}, "placement omits perception, world_model"),
    ({"a": ["world"], "b": ["world"]}, "placement puts world in 'a' and in 'b'"),
])
def test_an_invalid_placement_is_refused_with_its_fix(placement: object, words: str) -> None:
    from ami.graph.partition import groups_of

    with pytest.raises(SettingError) as refusal:
        groups_of(graph_of("jepa"), placement)  # type: ignore[arg-type]
    assert words in str(refusal.value)
