"""Prune: the nodes that fire, and the same messages and outcomes with fewer of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import ami
from ami.agent import Agent
from ami.blueprint import Configurator, Episode
from ami.config.compose import compose_baseline, to_graph
from ami.evaluation.evaluate import evaluate, evaluation_ports
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.graph.partition import cut
from ami.graph.prune import ignored_inputs, needed, prune
from ami.graph.spec import ModuleSpec
from ami.learning.collect import collect, collected_ports
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.testing import check_module


@pytest.fixture(scope="module")
def default() -> Graph:
    return to_graph(ami.compose(["runtime=local", "world.max_episode_steps=6"]))


def test_the_explorer_needs_its_world_and_its_actor() -> None:
    graph = to_graph(compose_baseline(ami.compose(), "random"))
    assert needed(graph, collected_ports(graph)) == ("world", "actor")


def test_the_default_agent_acts_without_firing_cost_and_memory(default: Graph) -> None:
    assert set(default.order) - set(needed(default)) == {"cost", "memory"}
    assert "memory" in needed(default, ["memory.score"])


def test_a_delayed_wire_counts_and_a_cut_one_does_not(default: Graph) -> None:
    gated = to_graph(ami.compose(["configurator=surprise_gate"]))
    assert [str(wire) for wire in gated.inputs["configurator"] if wire.node == "cost"] == [
        "cost.energy@-1 → configurator.energy"]
    assert needed(gated) == tuple(node for node in gated.order if node != "memory")
    severed = prune(gated, ())
    severed.inputs = {node: [replace(wire, cut=True) if wire.node == "cost" else wire for wire in wires]
                      for node, wires in severed.inputs.items()}
    assert "cost" not in needed(severed)


def ticks_of(graph: Graph, watch: tuple[str, ...]) -> list[dict[str, Tensor]]:
    episodes = [Episode(number, number) for number in range(3)]
    with Agent(LocalRuntime(graph, 0, watch=watch)) as agent:
        return [{port: step.outputs[port] for port in watch} for step in rollout(agent, episodes)]


def test_all_messages_of_the_nodes_that_fire_are_the_same(default: Graph) -> None:
    pruned = prune(default, ())
    watch = tuple(f"{node}.{port}" for node in pruned.fired for port in default.outputs[node])
    whole, less = ticks_of(default, watch), ticks_of(pruned, watch)
    assert len(whole) == len(less) > 1
    assert all(torch.equal(one[port], other[port]) for one, other in zip(whole, less, strict=True) for port in watch)


def test_only_fired_nodes_and_their_callees_are_built(default: Graph) -> None:
    modules = LocalRuntime(prune(default, ())).worker.modules
    assert "memory" not in modules and "cost" in modules, "the planner calls the cost"
    assert [segment.nodes for segment in cut(prune(default, ()), "agent")] == [needed(default)]
    assert default.fired == default.order, "the graph itself is left as it is"


def test_the_same_experience_is_collected() -> None:
    graph = to_graph(compose_baseline(ami.compose(["world.max_episode_steps=5"]), "random"))
    ports = collected_ports(graph)
    one, two = (collect(Agent(LocalRuntime(of, 0, watch=ports)), 5, 8, 3, 0) for of in (graph, prune(graph, ports)))
    assert all(torch.equal(value, two.tensors()[name]) for name, value in one.tensors().items())


def test_the_outcomes_of_an_evaluation_are_the_same(default: Graph) -> None:
    manifest, watch = Manifest.make(default.drafts["world"], 5, 3), evaluation_ports(default)
    found = []
    for graph, refill in ((default, False), (prune(default, watch), False), (prune(default, watch), True)):
        with Agent(LocalRuntime(graph, 0, watch=watch)) as agent:
            found.append(evaluate([agent], manifest, 4, refill=refill))
    first, *others = found
    assert all(one.outcomes == first.outcomes and one.model_steps == first.model_steps for one in others)


class Ignoring(Configurator):
    ignores = ("surprise",)

    def infer_dims(self, known):
        return {"W": 1}

    def step(self, energy=None, surprise=None):
        return {"mode": torch.full((self.batch,), 2), "weights": torch.ones(self.batch, 1)}


class Reading(Ignoring):
    def step(self, energy=None, surprise=None):
        weights = torch.ones(self.batch, 1) if surprise is None else surprise[:, None].abs()
        return {"mode": torch.full((self.batch,), 2), "weights": weights}


class Claiming(Reading):
    ignores = ("surprise",)


def test_a_subclass_that_overrides_step_ignores_nothing_unless_it_says_so() -> None:
    assert (ignored_inputs(Ignoring), ignored_inputs(Reading)) == (("surprise",), ())


def test_the_contract_finds_an_ignored_input_that_is_read() -> None:
    check_module(Ignoring)
    check_module(Reading)
    with pytest.raises(AssertionError, match=r"weights.* at tick 0 depends on surprise"):
        check_module(Claiming)


def test_nodes_without_a_reader_of_a_users_graph(tiny_agent: Callable[..., Graph]) -> None:
    graph = tiny_agent(observe="state")
    parts = {**graph.specs, "configurator": ModuleSpec(Ignoring)}
    wiring = {node: {wire.to_port: f"{wire.node}.{wire.port}{'@-1' * wire.delay}" for wire in graph.inputs[node]}
              for node in graph.order}
    assert needed(Graph(parts, wiring)) == graph.order, "the state is still read by the planner"
