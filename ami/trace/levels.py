"""Trace levels: how much of every message a run records.

`stats` keeps a hash and a few statistics. `boundary` adds the bytes of the messages between agent and world: the world's
outputs and the agent's actions. `ami replay` re-executes the agent from these and the seeds of its random streams. `full`
adds the bytes of chosen ports, or of every port.
"""

from __future__ import annotations

from collections.abc import Sequence

from ami.errors import require, unknown_name
from ami.graph.graph import Graph

STATS, BOUNDARY, FULL = "stats", "boundary", "full"


def recorded_ports(graph: Graph, level: str, ports: Sequence[str] = ()) -> frozenset[str]:
    """Return the ports, "node.port", whose message bytes are recorded.

    Args:
        graph: a valid graph.
        level: "stats", "boundary" or "full".
        ports: for "full", the ports to record in addition to the boundary; empty means all.

    Raises:
        UnknownName: the graph has no such port.
        SettingError: ports are given, but the level is not "full".
    """
    known = [f"{node}.{port}" for node in graph.order for port in graph.outputs[node]]
    require(not ports or level == FULL,
            f"trace.ports is {list(ports)}, but trace.level is {level}: expected trace.level=full")
    for port in ports:
        if port not in known:
            raise unknown_name("port in trace.ports", port, known)
    if level == STATS:
        return frozenset()
    boundary = graph.boundary()
    return frozenset(boundary if level == BOUNDARY else [*boundary, *(ports or known)])
