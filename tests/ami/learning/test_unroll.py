"""A memory with weights learns inside the loop: unrolled with its world model over windows, with gradients."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from ami.agent import Agent
from ami.blueprint import Episode
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import SettingError
from ami.graph.graph import Graph
from ami.learning.cache import Cache
from ami.learning.collect import collect, collector
from ami.learning.schedule import Phase
from ami.learning.trainer import Trainer
from ami.learning.unroll import Unroll
from ami.rollout import rollout
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime
from ami.runtime.worker import Worker
from tests.support.corridor import LENGTH, corridor
from tests.support.stages import stage

NODES = ("perception", "world_model", "memory", "actor")


@cache
def experience() -> ReplayBuffer:
    """Random walks through the corridor."""
    with collector(corridor(explores=True), 0) as agent:
        return collect(agent, 200, LENGTH, 100, 0)


def learnt(graph: Graph, folder: Path, steps: int = 300) -> Weights:
    modules = Worker(graph, NODES, 0).modules
    one = stage("memory", train=["memory", "actor"], loss="actor", source={"name": "windows", "length": LENGTH},
                unroll=["perception", "world_model", "memory"], steps=steps, learning_rate=0.01)
    schedule = [Phase("collected", 0), Phase("learnt", 0, (one,), NODES)]
    trainer = Trainer(modules, schedule, 0, Cache(folder), save_every=1000, graph=graph)
    trainer.learn(lambda phase: (experience(), 0.0, False))
    return {node: dict(module.state_dict()) for node, module in modules.items()}


def success(graph: Graph, weights: Weights) -> float:
    with Agent(LocalRuntime(graph, 1, weights)) as agent:
        steps = list(rollout(agent, [Episode(1000 + number, number) for number in range(200)]))
    return float(steps[-1].world["success"].float().mean())


def test_a_memory_learns_what_it_must_remember_and_its_controls_do_not(tmp_path: Path) -> None:
    graph, blind = corridor(), corridor(forgets=True)
    assert success(graph, learnt(graph, tmp_path / "learnt")) == 1.0
    assert success(graph, {}) < 0.7, "untrained"
    assert success(blind, learnt(blind, tmp_path / "blind")) < 0.7, "it forgets at every tick"


def test_unrolled_nodes_send_what_they_send_in_an_agent(tmp_path: Path) -> None:
    graph = corridor(explores=True)
    ports = ("world.observation", "actor.action", "memory.recall", "world_model.surprise")
    with Agent(LocalRuntime(graph, 0, watch=ports)) as agent:
        steps = [{port: step.outputs[port].clone() for port in ports}
                 for step in rollout(agent, [Episode(number, number) for number in range(7)])]
    lived = {port: torch.stack([one[port] for one in steps], dim=1) for port in ports}
    modules = Worker(graph, NODES, 0).modules
    unroll = Unroll(graph, ["memory", "world_model", "perception"], modules, "learning.stages.memory.unroll")
    sent = unroll({"observation": lived["world.observation"], "action": lived["actor.action"][:, :-1]})
    for port in ("memory.recall", "world_model.surprise"):
        assert torch.equal(sent[port], lived[port])
    assert sent["memory.recall"].requires_grad and not modules["memory"].carry


def test_percepts_take_the_place_of_a_perception_that_is_not_unrolled() -> None:
    graph = corridor()
    modules = Worker(graph, NODES, 0).modules
    windows = experience().windows(experience().starts(LENGTH)[:5], LENGTH)
    whole = Unroll(graph, NODES[:3], modules, "unroll")(windows)
    frozen = Unroll(graph, NODES[1:3], modules, "unroll")({"percept": windows["observation"], "action": windows["action"]})
    assert torch.equal(whole["memory.recall"], frozen["memory.recall"])


@pytest.mark.parametrize(("nodes", "words"), [
    (["memry"], "unroll names 'memry': did you mean 'memory'?"),
    (["memory"], "unroll fires memory, which reads world_model.state: that is neither unrolled nor recorded. "
                 "Fix: add world_model to unroll, or leave memory out"),
])
def test_nodes_that_cannot_be_unrolled_are_refused(nodes: list[str], words: str) -> None:
    graph = corridor()
    with pytest.raises(SettingError) as refusal:
        Unroll(graph, nodes, Worker(graph, NODES, 0).modules, "unroll")
    assert words in str(refusal.value)
