"""Levels: how much of every message a run records.

`stats` keeps a hash and a few statistics. `boundary` also keeps, byte by byte, what crosses the border of a mind: all that
the world shows and the action that it takes; with the seeds, from which every random stream is derived, a mind can be
executed anew from that (`ami replay`). `full` keeps the messages of chosen ports besides, or of every port.
"""

from __future__ import annotations

from collections.abc import Sequence

from ami.errors import require, unknown_name
from ami.graph.graph import Graph

STATS, BOUNDARY, FULL = "stats", "boundary", "full"
WORLD, ACTION = "world", "actor.action"


def recorded_ports(graph: Graph, level: str, ports: Sequence[str] = ()) -> frozenset[str]:
    """The ports, "node.port", whose messages are recorded byte by byte.

    Args:
        graph: the sound graph.
        level: "stats", "boundary" or "full".
        ports: for "full", the ports to keep besides the boundary; none given means all.

    Raises:
        UnknownName: the graph has no such port.
        SettingError: ports are named, but the level is not "full".
    """
    known = [f"{node}.{port}" for node in graph.order for port in graph.outputs[node]]
    require(not ports or level == FULL,
            f"trace.ports is {list(ports)}, but trace.level is {level}: expected trace.level=full")
    for port in ports:
        if port not in known:
            raise unknown_name("port in trace.ports", port, known)
    if level == STATS:
        return frozenset()
    boundary = [port for port in known if port.split(".")[0] == WORLD or port == ACTION]
    return frozenset(boundary if level == BOUNDARY else [*boundary, *(ports or known)])
