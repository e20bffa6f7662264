"""Prune: fire only the nodes that observed ports depend on.

A node is needed if a wire leads from it, directly or through other nodes, to a world or to an observed port. Delayed wires
count; cut wires, and inputs that a module declares in `ignores`, do not. A node that is only called need not fire: a replica
in the caller's process serves its calls, and a callable method depends on its arguments and the weights alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from copy import copy
from dataclasses import replace

from ami.blueprint import World
from ami.graph.graph import Graph
from ami.module import Module


def prune(graph: Graph, ports: Iterable[str]) -> Graph:
    """Return the graph in which only needed nodes fire; the messages of these nodes are the same, bit for bit.

    Wires from other nodes are cut: they lead to ignored inputs, or to nodes that do not fire either.

    Args:
        graph: the checked graph.
        ports: the observed ports, "node.port".
    """
    fired = needed(graph, ports)
    pruned = copy(graph)
    pruned.fired = fired
    pruned.wires = [wire if wire.node in fired else replace(wire, cut=True) for wire in graph.wires]
    pruned.inputs = {node: [wire for wire in pruned.wires if wire.to_node == node] for node in graph.inputs}
    return pruned


def needed(graph: Graph, ports: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the worlds, the nodes of the ports "node.port", and all nodes that these depend on, in firing order."""
    found: set[str] = set()
    waiting = [*graph.nodes_of(World), *(port.split(".")[0] for port in ports)]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            ignored = ignored_inputs(graph.specs[node].target)  # type: ignore[arg-type]
            waiting += [wire.node for wire in graph.inputs[node] if not wire.cut and wire.to_port not in ignored]
    return tuple(node for node in graph.order if node in found)


def ignored_inputs(module: type[Module]) -> Collection[str]:
    """Return the inputs that a module's step does not read: `ignores`, unless a subclass overrides `step` without it."""
    for owner in module.__mro__:
        if "ignores" in vars(owner):
            return tuple(vars(owner)["ignores"])
        if "step" in vars(owner):
            return ()
    return ()
