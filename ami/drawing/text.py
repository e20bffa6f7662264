"""The graph as text and as Mermaid; `ami.drawing.svg` draws it."""

from __future__ import annotations

from collections.abc import Callable

from ami.drawing.description import Description, DrawnWire, extras
from ami.drawing.losses import Losses, lost
from ami.drawing.svg import COLOURS, OTHER, svg

RESERVED = ("end", "graph", "subgraph", "style", "class", "click", "default")
"""Mermaid keywords, which are no node names."""


def text(graph: Description, losses: Losses | None = None) -> str:
    """Return each node by rank: the sources of its inputs, its calls and its firing period.

    With losses, a node and a wire are followed by the points of success lost without them.
    """
    lines = ["firing order: " + " → ".join(node.name for node in graph.nodes), ""]
    for node in sorted(graph.nodes, key=lambda node: graph.ranks[node.name]):
        of_node = losses.points.get(node.name) if losses else None
        lines.append(f"{graph.ranks[node.name]}  {node.name}: {', '.join([node.title, *extras(node)])}{_points(of_node)}")
        width = max((len(wire.to_port) for wire in graph.inputs(node.name)), default=0)
        lines += [f"     {wire.to_port:<{width}} ← {_source(wire)}  ({', '.join(['B', *map(str, wire.shape)])})"
                  f"{_points(losses.of_wire(graph, wire) if losses else None)}"
                  for wire in graph.inputs(node.name)]
        called = [f"{call.callee}.{method}" for call in node.calls for method in call.methods]
        if called:
            lines.append(f"     calls {', '.join(called)}")
    return "\n".join(lines)


def mermaid(graph: Description, losses: Losses | None = None) -> str:
    """Return a flowchart: solid arrows are messages, with `@-1` if delayed by a tick; dotted arrows are calls.

    A cut wire ends in a cross. With losses, a port is followed by the points of success lost without its wire.
    """
    lines = ["flowchart LR"]
    for node in graph.nodes:
        label = "<br>".join([f"<b>{node.name}</b>", node.title, *extras(node)])
        lines.append(f'  {_id(node.name)}["{label}"]:::{node.role}')
    messages: dict[tuple[str, str, str], list[str]] = {}
    for wire in graph.wires:
        arrow = "--x" if wire.cut else "-->"
        messages.setdefault((wire.node, wire.to_node, arrow), []).append(
            wire.port + (f" @-{wire.delay}" if wire.delay else "")
            + _points(losses.of_wire(graph, wire) if losses else None))
    for (source, target, arrow), ports in sorted(messages.items()):
        lines.append(f'  {_id(source)} {arrow}|"{", ".join(dict.fromkeys(ports))}"| {_id(target)}')
    for node in graph.nodes:
        lines += [f'  {_id(node.name)} -.->|"{", ".join(call.methods)}"| {_id(call.callee)}' for call in node.calls]
    for role in dict.fromkeys(node.role for node in graph.nodes):
        colour = COLOURS.get(role, OTHER)
        lines.append(f"  classDef {role} fill:{colour},stroke:{colour},color:#fff")
    return "\n".join(lines)


FORMATS: dict[str, Callable[[Description, Losses | None], str]] = {"text": text, "mermaid": mermaid, "svg": svg}


def _source(wire: DrawnWire) -> str:
    if wire.cut:
        return f"{wire.node}.{wire.port}, cut: constant {wire.init:g}"
    late = f", {wire.delay} tick{'s' if wire.delay > 1 else ''} late" if wire.delay else ""
    return f"{wire.node}.{wire.port}{late}"


def _points(points: float | None) -> str:
    return "" if points is None else f"  {lost(points)}"


def _id(node: str) -> str:
    return f"{node}_" if node in RESERVED else node
