"""Agents whose modules all run on another device send the same messages: no module mixes tensors of two devices."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from ami.blueprint import Episode, World
from ami.config.compose import compose, to_graph
from ami.runtime.mailbox import Outputs
from ami.runtime.worker import Worker
from tests.support.far_device import far_device

AGENTS = [
    ["planner=icem", "perception=vit"], ["planner=mppi", "actor=epsilon_greedy"], ["planner=gradient"], ["agent=two_levels"],
    ["agent=explorer"], ["agent=teacher"], ["experiment=policy_proposals", "graph.planner.every=2"],
    ["experiment=surprise_gate"], ["experiment=short_term"], ["experiment=novelty"], ["experiment=cartpole"],
    ["world_model=ensemble"], ["world_model=factored"],
]


def played(overrides: Sequence[str]) -> list[dict[str, Outputs]]:
    """Return the messages of 5 ticks, by tick and node; one of two rows begins a new episode before the fourth."""
    graph = to_graph(compose(list(overrides)))
    worker = Worker(graph, graph.order, 0)
    worker.begin(torch.ones(2, dtype=torch.bool), [Episode(row, row) for row in range(2)], 0)
    fired = [worker.fire(graph.order, tick) for tick in range(3)]
    worker.begin(torch.tensor([True, False]), [Episode(5 + row, row) for row in range(2)], 0)
    fired += [worker.fire(graph.order, tick) for tick in range(3, 5)]
    worker.close()
    return fired


@pytest.mark.parametrize("overrides", AGENTS, ids=" ".join)
def test_an_agent_on_another_device_sends_the_same(overrides: list[str]) -> None:
    graph = to_graph(compose(overrides))
    moved = [f"+graph.{node}.device=cuda" for node in graph.order if node not in graph.nodes_of(World)]
    with far_device():
        there = played([*overrides, *moved])
    for one, other in zip(played(overrides), there, strict=True):
        for node, outputs in one.items():
            for port, value in outputs.items():
                assert torch.equal(value, other[node][port]), f"{node}.{port}"
