"""The graph as text and as Mermaid; `ami.drawing.svg` draws it. Only valid graphs are drawn, with their sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ami.drawing.svg import COLOURS, OTHER, svg
from ami.graph.devices import CPU
from ami.graph.graph import Graph
from ami.graph.wiring import Wire

RESERVED = ("end", "graph", "subgraph", "style", "class", "click", "default")
"""Mermaid keywords, which are no node names."""


def text(graph: Graph) -> str:
    """Return each node by rank: the sources of its inputs, its calls and its firing period."""
    ranks = graph.ranks()
    lines = ["firing order: " + " → ".join(graph.order), ""]
    for node in sorted(graph.order, key=lambda node: (ranks[node], graph.order.index(node))):
        lines.append(f"{ranks[node]}  {node}: {', '.join([_class(graph, node), *_settings(graph, node)])}")
        width = max((len(wire.to_port) for wire in graph.inputs[node]), default=0)
        lines += [f"     {wire.to_port:<{width}} ← {_source(wire)}  {_shape(graph, wire)}" for wire in graph.inputs[node]]
        called = [f"{callee}.{method}" for callee, methods in _calls(graph, node) for method in methods]
        if called:
            lines.append(f"     calls {', '.join(called)}")
    return "\n".join(lines)


def mermaid(graph: Graph) -> str:
    """Return a flowchart: solid arrows are messages, with `@-1` if delayed by a tick; dotted arrows are calls.

    A cut wire ends in a cross.
    """
    lines = ["flowchart LR"]
    for node in graph.order:
        label = "<br>".join([f"<b>{node}</b>", _class(graph, node), *_settings(graph, node)])
        lines.append(f'  {_id(node)}["{label}"]:::{graph.drafts[node].role}')
    messages: dict[tuple[str, str, str], list[str]] = {}
    for wire in graph.wires:
        arrow = "--x" if wire.cut else "-->"
        messages.setdefault((wire.node, wire.to_node, arrow), []).append(
            wire.port + (f" @-{wire.delay}" if wire.delay else ""))
    for (node, to_node, arrow), ports in sorted(messages.items()):
        lines.append(f'  {_id(node)} {arrow}|"{", ".join(dict.fromkeys(ports))}"| {_id(to_node)}')
    for node in graph.order:
        lines += [f'  {_id(node)} -.->|"{", ".join(methods)}"| {_id(callee)}' for callee, methods in _calls(graph, node)]
    for role in dict.fromkeys(graph.drafts[node].role for node in graph.order):
        colour = COLOURS.get(role, OTHER)
        lines.append(f"  classDef {role} fill:{colour},stroke:{colour},color:#fff")
    return "\n".join(lines)


FORMATS: dict[str, Callable[[Graph], str]] = {"text": text, "mermaid": mermaid, "svg": svg}


def _class(graph: Graph, node: str) -> str:
    return graph.specs[node].target.__qualname__


def _settings(graph: Graph, node: str) -> list[str]:
    """Return a node's firing period and device, where they are not the default."""
    often = [f"every {graph.every[node]} ticks"] if graph.every[node] > 1 else []
    return often + ([f"on {graph.devices[node]}"] if graph.devices[node] != CPU else [])


def _calls(graph: Graph, node: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each callee of a node and the called methods; bound calls that its module does not declare are skipped."""
    for name, call in graph.drafts[node].requires.items():
        if name in graph.calls[node]:
            yield graph.calls[node][name], call.methods


def _source(wire: Wire) -> str:
    if wire.cut:
        return f"{wire.node}.{wire.port}, cut: constant {wire.init:g}"
    late = f", {wire.delay} tick{'s' if wire.delay > 1 else ''} late" if wire.delay else ""
    return f"{wire.node}.{wire.port}{late}"


def _shape(graph: Graph, wire: Wire) -> str:
    port = graph.drafts[wire.node].outputs[wire.port]
    return f"({', '.join(['B', *map(str, port.shape(graph.dims[wire.node]))])})"


def _id(node: str) -> str:
    return f"{node}_" if node in RESERVED else node
