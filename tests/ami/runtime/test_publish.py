"""Published weights take effect at the next tick in every process, replicas included, and their version is recorded."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch

import ami
from ami.agent import Agent, Runtime
from ami.config.compose import to_graph
from ami.errors import CheckpointError, SettingError, UnknownName
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.runtime.build import build_module
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime
from ami.runtime.worker import Worker
from ami.trace.header import write_header
from ami.trace.invocation import history
from ami.trace.log import TraceLog
from ami.trace.reader import Trace

TICKS, PUBLISHED_AFTER = 6, 3
GRAPH = to_graph(ami.compose())


def weights_of(graph: Graph, seed: int = 99) -> Weights:
    return {node: module.state_dict() for node, module in Worker(graph, graph.order, seed).modules.items()}


def recorded(folder: Path, runtime: Runtime, weights: Weights | None = None) -> Trace:
    """Run an agent for some ticks, and publish weights after half of them."""
    write_header(folder, GRAPH, seed=0)
    episodes = Manifest.make(build_module(GRAPH, "world", 0), 3, 1).episodes()[:2]
    with Agent(runtime) as agent:
        agent.reset(torch.ones(2, dtype=torch.bool), episodes)
        for tick in range(TICKS):
            if tick == PUBLISHED_AFTER and weights is not None:
                runtime.publish(7, weights)
            agent.cycle()
    return Trace.open(folder)


def local(folder: Path, weights: Weights | None = None) -> Trace:
    return recorded(folder, LocalRuntime(GRAPH, 0, recorder=TraceLog(folder / "trace")), weights)


def test_published_weights_take_effect_at_the_next_tick_and_are_recorded(tmp_path: Path) -> None:
    before, after = local(tmp_path / "before"), local(tmp_path / "after", weights_of(GRAPH))
    for node in ("perception", "world_model", "goal", "planner"):
        old, new = (history(trace, 0, node) for trace in (before, after))
        same = [[one.hash for one in was.outputs] == [one.hash for one in now.outputs]
                for was, now in zip(old, new, strict=True)]
        assert same == [True] * PUBLISHED_AFTER + [False] * (TICKS - PUBLISHED_AFTER), node
        assert [one.version for one in new] == [0] * PUBLISHED_AFTER + [7] * (TICKS - PUBLISHED_AFTER)
        assert [one.version for one in old] == [0] * TICKS


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("placement", ["auto", "agent"])
def test_ray_gives_the_same_messages_and_versions(placement: str, tmp_path: Path) -> None:
    from ami.runtime.ray_actors import RayRuntime

    weights = weights_of(GRAPH)
    far = recorded(tmp_path / "ray", RayRuntime(GRAPH, 0, placement=placement, trace=tmp_path / "ray" / "trace"), weights)
    near = local(tmp_path / "local", weights)
    assert far.digest() == near.digest()
    for node in GRAPH.order:
        assert [one.version for one in history(far, 0, node)] == [one.version for one in history(near, 0, node)]


def test_a_replica_gets_the_weights() -> None:
    weights, worker = weights_of(GRAPH), Worker(GRAPH, ["planner"], 0)
    worker.load(1, weights)
    assert all(torch.equal(value, weights["world_model"][name])
               for name, value in worker.modules["world_model"].state_dict().items())
    assert worker.held.version == 1


def test_weights_that_do_not_fit_are_refused_and_nothing_is_loaded() -> None:
    runtime = LocalRuntime(GRAPH)
    own = {name: value.clone() for name, value in runtime.worker.modules["perception"].state_dict().items()}
    weights = dict(weights_of(GRAPH))
    with pytest.raises(CheckpointError, match=r"^version 2 of the weights does not fit world_model \(JEPA\): .* differ in "
                                              r"name or shape\. Fix: publish the state dict of a JEPA"):
        runtime.publish(2, {**weights, "world_model": {"other": torch.zeros(1)}})
    now = runtime.worker.modules["perception"].state_dict()
    assert all(torch.equal(value, own[name]) for name, value in now.items())
    with pytest.raises(UnknownName, match="unknown node of published weights 'perceptoin': did you mean 'perception'"):
        runtime.publish(2, {"perceptoin": weights["perception"]})
    runtime.publish(2, {"perception": weights["perception"]})
    with pytest.raises(SettingError, match=r"^version 2 is published after 2: expected a larger number$"):
        runtime.publish(2, {})


def test_a_trace_without_versions_opens(tmp_path: Path) -> None:
    trace = local(tmp_path / "run")
    digest = trace.digest()
    for file in (tmp_path / "run" / "trace").rglob("*.arrow"):
        content = file.read_bytes()
        file.unlink()  # the open trace maps it
        with pa.ipc.open_stream(content) as stream:
            batches = [(one.batch.drop_columns(["version"]), one.custom_metadata)
                       for one in stream.iter_batches_with_custom_metadata()]
            schema = stream.schema.remove(stream.schema.get_field_index("version"))
        with pa.ipc.new_stream(str(file), schema) as out:
            for batch, metadata in batches:
                out.write_batch(batch, custom_metadata=metadata)
    old = Trace.open(tmp_path / "run")
    assert old.digest() == digest and {one.version for one in history(old, 0, "planner")} == {0}
