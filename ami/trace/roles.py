"""Roles of a recorded run's nodes, from its header. Readers of a trace find nodes by role, never by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ami.blueprint import ROLES, Planner, World, WorldModel
from ami.module import Module
from ami.trace.header import wires_of


class Roles:
    """The nodes of a recorded run by role, like `ami.graph.graph.Graph.nodes_of`.

    Traces of earlier versions record no roles: a node then has the role that equals its name, else that of its module's
    folder.

    Args:
        header: the run header.
    """

    def __init__(self, header: Mapping[str, Any]) -> None:
        graph, named = header["graph"], header.get("roles") or {}
        self._roles = {node: str(named.get(node) or _guessed(node, graph["nodes"])) for node in graph["order"]}
        self._wires = wires_of(header)
        self._calls: Mapping[str, Mapping[str, str]] = graph.get("calls", {})

    def role(self, node: str) -> str:
        """Return the name of a node's role; "module" if it has none of the blueprint's."""
        return self._roles.get(node, Module.role)

    def nodes_of(self, role: type[Module]) -> tuple[str, ...]:
        """Return the nodes of a role, such as `ami.blueprint.Planner`, in firing order."""
        return tuple(node for node, name in self._roles.items() if name == role.role)

    @property
    def world(self) -> str:
        """The first world; empty without one."""
        return next(iter(self.nodes_of(World)), "")

    @property
    def actions(self) -> tuple[str, ...]:
        """The ports, "node.port", that other nodes send to the worlds."""
        worlds = self.nodes_of(World)
        return tuple(dict.fromkeys(f"{wire.node}.{wire.port}" for wire in self._wires
                                   if wire.to_node in worlds and wire.node not in worlds))

    @property
    def planners(self) -> tuple[str, ...]:
        """The planners in reverse firing order: the actor's planner comes first, because it reads the others."""
        return self.nodes_of(Planner)[::-1]

    def model_of(self, node: str) -> str:
        """Return the first world model that a node calls, else the first that is wired to it; empty if there is none."""
        models = self.nodes_of(WorldModel)
        linked = (*self._calls.get(node, {}).values(), *(wire.node for wire in self._wires if wire.to_node == node))
        return next((other for other in linked if other in models), "")


def _guessed(node: str, nodes: Mapping[str, Mapping[str, Any]]) -> str:
    path = str(nodes.get(node, {}).get("_target_", "")).split(".")
    return next((name for name in (node, *path[:-1]) if name in ROLES), Module.role)
