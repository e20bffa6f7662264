"""A graph of scripted agents: nodes by role, without modules."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from ami.blueprint import World
from ami.graph.graph import Graph
from ami.module import Module


class ScriptedGraph:
    """The part of a graph that a rollout reads.

    Args:
        every: ticks between two firings, by node, besides the world.
        nodes: the nodes of each role.
    """

    def __init__(self, every: Mapping[str, int] | None = None,
                 nodes: Mapping[type[Module], tuple[str, ...]] | None = None) -> None:
        self.every = {"world": 1, **(every or {})}
        self._nodes = {World: ("world",), **(nodes or {})}
        self.inputs = {"world": [SimpleNamespace(to_port="action", node="actor", port="action")]}

    def nodes_of(self, role: type[Module]) -> tuple[str, ...]:
        return self._nodes.get(role, ())

    the = Graph.the
