"""What a drawing of a graph shows, as plain values: the nodes in firing order, their wires and calls, and remarks.

A description is made from a checked graph. It needs neither the modules' classes nor PyTorch, so it can be kept in a file
(`ami.drawing.cache`) and drawn from that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from ami.graph.wiring import Wire
from ami.storage.schema import AtMost, Count, Line, Mismatch, Name, check

if TYPE_CHECKING:
    from ami.graph.graph import Graph

HERE = "cpu"
"""The device that a drawing leaves out."""
Lines = Annotated[list[Line], AtMost(1000)]
Names = Annotated[list[Name], AtMost(1000)]


@dataclass(frozen=True)
class DrawnCall:
    """A call edge: the called node and its methods."""

    callee: Name
    methods: Names


@dataclass(frozen=True)
class DrawnNode:
    """A node.

    Attributes:
        name: its name.
        title: the name of its module's class.
        role: its module's role.
        every: ticks between two firings.
        device: the device of its module, "cuda:0".
        outputs: the names of its module's outputs.
        calls: its bound calls.
    """

    name: Name
    title: Line
    role: Name
    every: Count
    device: Line
    outputs: Names
    calls: Annotated[list[DrawnCall], AtMost(1000)]


@dataclass(frozen=True)
class DrawnWire:
    """A wire, as `ami.graph.wiring.Wire`, with the shape of its messages after the batch."""

    node: Name
    port: Name
    to_node: Name
    to_port: Name
    delay: Count
    init: float
    cut: bool
    shape: Annotated[list[Count], AtMost(1000)]

    def __str__(self) -> str:
        return str(Wire(self.node, self.port, self.to_node, self.to_port, self.delay))


@dataclass(frozen=True)
class Description:
    """What a drawing of a graph shows.

    Attributes:
        nodes: in firing order.
        wires: every message edge.
        warnings: parts of the wiring without effect.
        remarks: notes on the worlds' ports, and on settings that were fitted to the world.
    """

    nodes: Annotated[list[DrawnNode], AtMost(1000)]
    wires: Annotated[list[DrawnWire], AtMost(10_000)]
    warnings: Lines = field(default_factory=list)
    remarks: Lines = field(default_factory=list)

    @classmethod
    def of(cls, graph: Graph, remarks: Sequence[str] = ()) -> Description:
        """Describe a checked graph; `remarks` follow its own."""
        nodes = [DrawnNode(node, graph.specs[node].target.__qualname__, draft.role, graph.every[node],
                           str(graph.devices[node]), list(draft.outputs),
                           [DrawnCall(graph.calls[node][name], list(call.methods)) for name, call in draft.requires.items()
                            if name in graph.calls[node]])  # a bound call that its module does not declare has no effect
                 for node in graph.order for draft in [graph.drafts[node]]]
        wires = [DrawnWire(wire.node, wire.port, wire.to_node, wire.to_port, wire.delay, wire.init, wire.cut,
                           list(graph.drafts[wire.node].outputs[wire.port].shape(graph.dims[wire.node])))
                 for wire in graph.wires]
        return cls(nodes, wires, list(graph.warnings), [*graph.remarks, *remarks])

    @classmethod
    def from_plain(cls, values: Any) -> Description:
        """Return the description that `to_plain` wrote.

        Raises:
            Mismatch: the values are no description of a graph that can be drawn.
        """
        check(values, cls)
        nodes = [DrawnNode(**{**node, "calls": [DrawnCall(**call) for call in node["calls"]]}) for node in values["nodes"]]
        described = cls(nodes, [DrawnWire(**wire) for wire in values["wires"]], values["warnings"], values["remarks"])
        described._check_edges()
        return described

    def to_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def _check_edges(self) -> None:
        """Raise unless every edge joins two of the nodes, and undelayed wires follow the firing order."""
        places = {node.name: place for place, node in enumerate(self.nodes)}
        called = [call.callee for node in self.nodes for call in node.calls]
        named = {*called, *(wire.node for wire in self.wires), *(wire.to_node for wire in self.wires)}
        if not places or len(places) < len(self.nodes) or not named <= set(places):
            raise Mismatch(f"the nodes are {', '.join(places)}: expected each once, and all of {', '.join(sorted(named))}")
        for wire in self.wires:
            if wire.port not in self.nodes[places[wire.node]].outputs:
                raise Mismatch(f"{wire.node} has no output {wire.port}: expected the output of a wire")
            if not (wire.delay or wire.cut) and places[wire.node] >= places[wire.to_node]:
                raise Mismatch(f"{wire.node} fires after {wire.to_node}, which it sends to: expected the firing order")

    @cached_property
    def ranks(self) -> dict[str, int]:
        """The length of the longest path of undelayed wires to each node: its column in a drawing."""
        ranks: dict[str, int] = {}
        for node in self.nodes:
            ranks[node.name] = max((ranks[wire.node] + 1 for wire in self.inputs(node.name)
                                    if not (wire.delay or wire.cut)), default=0)
        return ranks

    def inputs(self, node: str) -> Iterator[DrawnWire]:
        """Yield the wires that arrive at a node."""
        return (wire for wire in self.wires if wire.to_node == node)


def extras(node: DrawnNode) -> list[str]:
    """Return a node's firing period and device, where they are not the default."""
    often = [f"every {node.every} ticks"] if node.every > 1 else []
    return often + ([f"on {node.device}"] if node.device != HERE else [])
