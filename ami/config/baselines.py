"""A baseline's wiring: the user's graph, without the wires and nodes that do not fit the modules of the baseline's preset.

For example, the random actor lacks an input of the user's actor, or a node of the user's needs an output of the replaced
planner. Every other wire stays as the user configured it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from ami.blueprint import World
from ami.errors import AmiError
from ami.graph.spec import ModuleSpec
from ami.graph.wiring import RESERVED, Wire, parse
from ami.module import Call, Module
from ami.ports import Port

Face = Module | type[Module]
"""The source of a node's ports and calls: its module before `build`, or its class."""


def rewire(wiring: Mapping[str, Any], default: Mapping[str, Any], parts: Mapping[str, ModuleSpec], replaced: Collection[str],
           kept: Collection[str]) -> dict[str, Any]:
    """Return the wiring of a baseline.

    A replaced node loses the inputs that its new module does not have, and gets the default wires that it lacks (see
    `_lacking`). Then every optional wire and call whose other end is gone is removed. A node that requires such a wire or
    call is removed too, unless it is in `kept`; the graph then reports the mistake.

    Args:
        wiring: the wiring of the user's graph, as nested mappings (see `ami.graph.wiring`).
        default: the wiring of the default graph.
        parts: the module specs, by node.
        replaced: the nodes whose modules the preset chose.
        kept: the nodes that are never removed.
    """
    face, defaults = _faces(parts), parse(default).wires
    found = {node: dict(entries) if isinstance(entries, Mapping) else entries for node, entries in wiring.items()}
    for node in set(replaced) & set(found):
        module, entries = face(node), found[node] or {}
        if module is not None and isinstance(entries, Mapping):
            unfit = {path[0] for other, path, _ in _without_other_end(found, replaced, face) if other == node}
            fitting = {key: value for key, value in entries.items() if key in RESERVED or key in module.inputs}
            absent = {name for name in module.inputs if entries.get(name) is None}
            lacking = _lacking([wire for wire in defaults if wire.to_node == node], module, unfit, absent, replaced)
            found[node] = fitting | {name: default[node][name] for name in lacking}
    while True:
        gone = list(_without_other_end(found, replaced, face))
        needless = {node for node, _, optional in gone if not optional and node not in kept}
        removable = [(node, path) for node, path, optional in gone if optional and node not in needless]
        if not needless and not removable:
            return found
        for node, path in removable:
            holder = found[node] if len(path) == 1 else found[node][path[0]]
            del holder[path[-1]]
        found = {node: entries for node, entries in found.items() if node not in needless}


def _lacking(defaults: Sequence[Wire], module: Face, unfit: Collection[str], absent: Collection[str],
             replaced: Collection[str]) -> list[str]:
    """Return the inputs of a replaced node that get their default wires.

    These are the inputs whose wires no longer fit, and the unwired inputs that are required or come from another replaced
    node (sizes may have to be inferred over such a wire).
    """
    known = [wire for wire in defaults if wire.to_port in module.inputs]
    return [wire.to_port for wire in known if wire.to_port in unfit or (
        wire.to_port in absent and (wire.node in replaced or not module.inputs[wire.to_port].optional))]


def _without_other_end(wiring: Mapping[str, Any], replaced: Collection[str],
                       face: Callable[[str], Face | None]) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yield each wire and call whose producer or callee is gone or no longer fits: (node, path of its entry, whether it is
    optional)."""
    parsed = parse(wiring)
    for wire in parsed.wires:
        if wire.node in wiring and wire.node not in replaced:
            continue
        consumer = face(wire.to_node)
        port = consumer.inputs.get(wire.to_port) if consumer is not None else None
        if port is not None and not _sends(face(wire.node) if wire.node in wiring else None, wire.port, port):
            yield wire.to_node, (wire.to_port,), port.optional
    for node, calls in parsed.calls.items():
        for name, callee in calls.items():
            if callee in wiring and callee not in replaced:
                continue
            caller = face(node)
            call = caller.requires.get(name) if caller is not None else None
            if call is not None and not _answers(face(callee) if callee in wiring else None, call):
                yield node, ("calls", name), call.optional


def _sends(producer: Face | None, name: str, port: Port) -> bool:
    return producer is not None and name in producer.outputs and producer.outputs[name].kind == port.kind


def _answers(callee: Face | None, call: Call) -> bool:
    return callee is not None and set(call.methods) <= set(callee.callable_methods())


def _faces(parts: Mapping[str, ModuleSpec]) -> Callable[[str], Face | None]:
    """Return a function from a node to its face, None if it has no module. Modules are built on first use."""
    known: dict[str, Face | None] = {}

    def face(node: str) -> Face | None:
        if node not in known:
            known[node] = _face(parts.get(node))
        return known[node]

    return face


def _face(part: ModuleSpec | None) -> Face | None:
    if part is None or not (isinstance(part.target, type) and issubclass(part.target, Module)):
        return None
    if issubclass(part.target, World):  # building one would make its environment
        return part.target
    try:
        made = part.make()
    except (AmiError, ValueError, TypeError, ImportError):  # the graph reports the faulty settings
        return part.target
    return made if isinstance(made, Module) else part.target
