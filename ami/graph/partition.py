"""Segments: the firing order cut into runs of nodes in the same process.

`placement` assigns nodes to processes. "auto" gives every world and every planner, which do most of the work, a process of
its own, and puts all other nodes in one. "module" gives every node its own process, "agent" puts all nodes in one, and a
mapping {group: [nodes]} lists them. One segment is one call per tick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ami.blueprint import Planner, World
from ami.errors import SettingError, suggestion
from ami.graph.graph import Graph

Placement = str | Mapping[str, Sequence[str]]
PLACEMENTS = ("auto", "module", "agent")
OWN_PROCESS = (World.role, Planner.role)
"""The roles whose nodes have a process of their own under "auto"."""


@dataclass(frozen=True)
class Segment:
    """Consecutive nodes of one group.

    Attributes:
        index: its position in the firing order of segments.
        group: the process it runs in.
        nodes: its nodes, in firing order.
        receives: the segments whose latest parcel is an argument of this call.
        exports: the ports in this segment's parcel, by node.
        watched: the ports that the driver reads, as "node.port".
    """

    index: int
    group: str
    nodes: tuple[str, ...]
    receives: tuple[int, ...]
    exports: Mapping[str, tuple[str, ...]]
    watched: tuple[str, ...]


def groups_of(graph: Graph, placement: Placement) -> dict[str, str]:
    """Return the group of each node.

    Raises:
        SettingError: the placement is unknown, names an unknown node, or omits or repeats one.
    """
    if isinstance(placement, str):
        if placement not in PLACEMENTS:
            raise SettingError(f"placement is '{placement}'{suggestion(placement, PLACEMENTS)} "
                               "Or a mapping {group: [nodes]}")
        return {node: named_group(placement, node, graph.specs[node].target.role) for node in graph.order}  # type: ignore[attr-defined]
    group_of: dict[str, str] = {}
    for group, nodes in placement.items():
        for node in nodes:
            if node not in graph.order:
                raise SettingError(f"placement puts the unknown node '{node}' in '{group}'{suggestion(node, graph.order)}")
            if node in group_of:
                raise SettingError(f"placement puts {node} in '{group_of[node]}' and in '{group}': expected one group")
            group_of[node] = group
    omitted = [node for node in graph.order if node not in group_of]
    if omitted:
        raise SettingError(f"placement omits {', '.join(omitted)}. Fix: put every node into one group")
    return group_of


def named_group(placement: str, node: str, role: str) -> str:
    """Return the group of a node of a role under a placement that is one word."""
    if placement == "module" or (placement == "auto" and role in OWN_PROCESS):
        return node
    return "agent" if placement == "agent" else "others"


def check_watched(graph: Graph, watch: Sequence[str]) -> None:
    """Raise SettingError if the graph lacks a watched port."""
    ports = [f"{node}.{port}" for node in graph.order for port in graph.outputs[node]]
    for name in watch:
        if name not in ports:
            raise SettingError(f"'{name}' is watched, which no node sends{suggestion(name, ports)}")


def cut(graph: Graph, placement: Placement, watch: Sequence[str] = ()) -> list[Segment]:
    """Cut the firing order into segments.

    Args:
        watch: the ports that the driver reads, as "node.port".

    Raises:
        SettingError: the placement is invalid, or a watched port does not exist.
    """
    check_watched(graph, watch)
    group_of = groups_of(graph, placement)
    runs: list[tuple[str, list[str]]] = []
    for node in graph.fired:
        if runs and runs[-1][0] == group_of[node]:
            runs[-1][1].append(node)
        else:
            runs.append((group_of[node], [node]))
    where = {node: i for i, (_, nodes) in enumerate(runs) for node in nodes}
    receives: dict[int, set[int]] = {i: set() for i in range(len(runs))}
    exports: dict[str, set[str]] = {}
    for wire in graph.wires:
        group = group_of[wire.to_node]
        if group == group_of[wire.node] or wire.cut or wire.to_node not in where:
            continue
        source = where[wire.node]
        exports.setdefault(wire.node, set()).add(wire.port)
        # sent once, with the next call of the group that reads it: later in this tick, or early in the next one
        later = [(source + step) % len(runs) for step in range(1, len(runs))]
        receives[next(i for i in later if runs[i][0] == group)].add(source)
    return [
        Segment(i, group, tuple(nodes), tuple(sorted(receives[i])),
                {n: tuple(sorted(exports[n])) for n in nodes if n in exports},
                tuple(port for port in watch if port.split(".")[0] in nodes))
        for i, (group, nodes) in enumerate(runs)]
