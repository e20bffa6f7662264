"""The graph: the wiring checked against the modules before tick 0, with all mistakes in one report.

Message edges must be acyclic without the delayed wires. Nodes fire in topological order, ties broken by name. A chain
therefore completes within one tick, and feedback has exactly its declared delay (the synchronous-reactive model;
Benveniste and others, *The synchronous languages 12 years later*, 2003).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import networkx as nx

from ami.blueprint import Actor, Planner, World
from ami.errors import AmiError, GraphError, ModuleError, suggestion
from ami.graph.devices import CPU, absent, resolve
from ami.graph.faults import blamed
from ami.graph.shapes import DimSolver
from ami.graph.spec import ModuleSpec
from ami.graph.wiring import ON_FAILURE, Wire, parse
from ami.module import Module
from ami.ports import Dims


class Graph:
    """A checked message graph.

    Args:
        parts: the modules' specs, by node name.
        wiring: the wiring file as nested mappings (see `ami.graph.wiring`).

    Attributes:
        order: the nodes in firing order.
        fired: the nodes that fire: all of them, unless `ami.graph.prune` has left some out.
        wires: every message edge.
        inputs: the wires that arrive at each node.
        calls: the call edges, {node: {name: callee}}.
        running_calls: those of them that a running agent binds: all but the ones for learning alone.
        every: ticks between two firings, by node.
        devices: the device of each node's module.
        on_failure: what the death of a node's process or an error of its step leads to: "restart", "hold_last" or "raise".
        dims: the resolved sizes, by node.
        actions: the world's action space, by node that handles actions.
        outputs: the names of each node's output ports, without those `on_demand` that no wire reads.
        drafts: one unbuilt module per node, to read its ports and declared calls.
        warnings: parts of the wiring without effect.
        remarks: notes on the worlds' ports, and their unread ports; a line per world.

    Raises:
        GraphError: the wiring is invalid; lists every mistake with its fix.
    """

    def __init__(self, parts: Mapping[str, ModuleSpec], wiring: Mapping[str, Any]) -> None:
        self.specs = dict(parts)
        parsed = parse(wiring)
        self.mistakes = list(parsed.mistakes)
        self.warnings: list[str] = []
        self.calls = {node: dict(parsed.calls.get(node, {})) for node in parsed.nodes}
        self.every = {node: parsed.every.get(node, 1) for node in parsed.nodes}
        self.devices = {node: resolve(parsed.devices.get(node, "cpu")) for node in parsed.nodes}
        self.on_failure = {node: parsed.on_failure.get(node, ON_FAILURE[0]) for node in parsed.nodes}
        self.drafts = self._draft(parsed.nodes)
        self._port_owners = self._known_port_owners(parsed.nodes)
        self.wires = [wire for wire in parsed.wires if self._is_there(wire) and self._is_sound(wire)]
        self.inputs = {node: [w for w in self.wires if w.to_node == node] for node in parsed.nodes}
        self._check_inputs(parsed.wires)
        self._check_calls()
        self.running_calls = {node: {name: callee for name, callee in calls.items()
                                     if not self._is_for_learning(node, name)} for node, calls in self.calls.items()}
        self._check_devices(parsed.devices)
        self.mistakes += [f"{node}.on_failure is hold_last: a World cannot leave out an action. Fix: restart or raise"
                          for node, owner in self._port_owners.items()
                          if self.on_failure[node] == "hold_last" and _is(owner, World)]
        self.order = self._fire_order(parsed.nodes)
        whole = [wire for wire in self.wires if wire.node in self.drafts and wire.to_node in self.drafts]
        solver = DimSolver(self.drafts, whole, self.calls)
        self.dims: dict[str, Dims] = solver.solve(complete=not self.mistakes)
        self.actions = dict(solver.actions)
        self.mistakes += solver.mistakes
        if self.mistakes:
            raise GraphError(self.mistakes)
        self.fired = self.order
        read = {(wire.node, wire.port) for wire in self.wires}
        self.outputs = {node: tuple(name for name in self.drafts[node].outputs if (node, name) in read
                                    or name not in self.drafts[node].on_demand) for node in self.order}
        self._warn_unused()
        self.remarks = self._remarks()

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the drafts: they may hold an open world, and the receiving process builds its own modules."""
        return {**self.__dict__, "drafts": {}, "_port_owners": {}}

    def describe(self) -> dict[str, Any]:
        """Return plain values for the run header and for hashing: every node with its settings, wires, calls and sizes."""
        return {
            "nodes": {node: self.specs[node].resolved() for node in self.order},
            "order": list(self.order),
            "wires": [str(wire) for wire in self.wires if not wire.cut],
            **({"cut": cut} if (cut := [str(wire) for wire in self.wires if wire.cut]) else {}),
            "inits": {str(wire): wire.init for wire in self.wires if wire.delay or wire.cut},
            "calls": {node: dict(sorted(calls.items())) for node, calls in self.calls.items() if calls},
            "every": {node: every for node, every in self.every.items() if every > 1},
            **({"on_failure": own} if (own := {node: one for node, one in self.on_failure.items() if one != ON_FAILURE[0]})
               else {}),
            **({"devices": away} if (away := {node: str(one) for node, one in self.devices.items() if one != CPU}) else {}),
            "dims": {node: dict(sorted(dims.items())) for node, dims in self.dims.items()},
        }

    def on_cpu(self) -> Graph:
        """Return the same graph with every module on the CPU, for learning."""
        moved = copy(self)
        moved.devices = dict.fromkeys(self.devices, CPU)
        return moved

    def hash(self) -> str:
        """Return 16 hex digits that change when a node, a setting, a wire or a size changes."""
        text = json.dumps(self.describe(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def nodes_of(self, role: type[Module]) -> tuple[str, ...]:
        """Return the nodes of a role, such as `ami.blueprint.Planner`, in firing order."""
        return tuple(node for node in self.order if issubclass(self.specs[node].target, role))  # type: ignore[arg-type]

    def the(self, role: type[Module]) -> str:
        """Return the only node of a role.

        Raises:
            GraphError: there is none, or more than one.
        """
        found = self.nodes_of(role)
        if len(found) != 1:
            named = f"{len(found)} nodes of the role {role.role}: {', '.join(found)}" if found else f"no {role.role}"
            raise GraphError([f"the graph has {named}. Expected one"])
        return found[0]

    def actions_of(self, worlds: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Return the outputs, (node, port), that other nodes send to these worlds."""
        worlds = set(worlds)
        found = {(wire.node, wire.port) for wire in self.wires if wire.to_node in worlds and wire.node not in worlds}
        return tuple(sorted(found, key=lambda port: (self.order.index(port[0]), port[1])))

    def boundary(self) -> tuple[str, ...]:
        """Return the ports, "node.port", between agent and world: the worlds' outputs, and the outputs wired into them."""
        worlds = self.nodes_of(World)
        sent = [f"{node}.{port}" for node in worlds for port in self.outputs[node]]
        return (*sent, *(f"{node}.{port}" for node, port in self.actions_of(worlds)))

    def equal_nodes(self, other: Graph) -> set[str]:
        """Return the nodes with equal class, settings, sizes and actions in another graph: their weights are compatible."""
        return {node for node in set(self.order) & set(other.order) if self.specs[node] == other.specs[node]
                and self.dims[node] == other.dims[node] and self.actions.get(node) == other.actions.get(node)}

    def nodes_of_equal_class(self, other: Graph) -> set[str]:
        """Return the nodes with equal class in another graph, whatever their settings."""
        return {node for node in set(self.order) & set(other.order) if self.specs[node].target == other.specs[node].target}

    def callees(self, node: str, learning: bool = False) -> tuple[str, ...]:
        """Return every node that `node` calls, directly or indirectly: a process that fires it holds their replicas.

        Args:
            learning: include calls that only learning needs.
        """
        calls_of = self.calls if learning else self.running_calls
        edges = nx.DiGraph((n, callee) for n, calls in calls_of.items() for callee in calls.values())
        return tuple(sorted(nx.descendants(edges, node))) if node in edges else ()

    def followers(self, nodes: Iterable[str]) -> set[str]:
        """Return these nodes and all that depend on them within a tick: over undelayed wires, or by calling them."""
        edges = self._undelayed()
        edges.add_edges_from((callee, node) for node, calls in self.running_calls.items() for callee in calls.values())
        return {follower for node in nodes for follower in (node, *nx.descendants(edges, node))}

    # The checks ------------------------------------------------------------------------------------------------------

    def _draft(self, nodes: tuple[str, ...]) -> dict[str, Module]:
        drafts: dict[str, Module] = {}
        for node in nodes:
            part = self.specs.get(node)
            if part is None:
                self.mistakes.append(f"node '{node}' is wired but has no module{suggestion(node, self.specs)} "
                                     f"Fix: give it one, `+{node}._target_=…`, or remove its wiring, `~graph.{node}`")
                continue
            if not (isinstance(part.target, type) and issubclass(part.target, Module)):
                self.mistakes.append(f"{node} is a {part.name}: expected an ami Module, see ami.blueprint")
                continue
            wrong = part.check(node)
            if wrong:
                self.mistakes.extend(wrong)
                continue
            try:
                with blamed(node, f"{part.name}()", passing=(ValueError, TypeError, ImportError)):
                    draft = part.make()
            except ModuleError as error:
                self.mistakes.append(str(error))
                continue
            except AmiError as error:
                self.mistakes.append(f"{node}: {error}")
                continue
            except (ValueError, TypeError, ImportError) as error:
                self.mistakes.append(f"{node}: {part.name} does not take these settings: {error}")
                continue
            if "_modules" not in vars(draft):
                self.mistakes.append(f"{node}: {part.name}.__init__() does not begin with super().__init__()")
                continue
            drafts[node] = draft
        return drafts

    def _known_port_owners(self, nodes: tuple[str, ...]) -> dict[str, Module | type[Module]]:
        """Return the source of each node's ports and calls: its draft, or its class if its settings are wrong."""
        owners: dict[str, Module | type[Module]] = {}
        for node in nodes:
            target = self.specs[node].target if node in self.specs else None
            if node in self.drafts:
                owners[node] = self.drafts[node]
            elif isinstance(target, type) and issubclass(target, Module):
                owners[node] = target
        return owners

    def _is_there(self, wire: Wire) -> bool:
        """Return False for an optional wire without a port at both ends; `_is_sound` checks wires that are not optional."""
        producer, consumer = self._port_owners.get(wire.node), self._port_owners.get(wire.to_node)
        if not wire.optional or producer is None or consumer is None:
            return True
        if wire.port not in producer.outputs:
            return False
        if wire.to_port in consumer.inputs:
            return True
        mask = "PLAN_MASK" if _is(consumer, Planner) else "ACTION_MASK"
        if producer.outputs[wire.port].kind == "mask" and (consumer.requires or _is(consumer, Actor)):
            self.warnings.append(f"{wire.to_node} does not receive {wire.node}.{wire.port}: {self.specs[wire.to_node].name} "
                                 f"has no input '{wire.to_port}', and may choose disallowed actions. Fix: "
                                 f"inputs = {{**inputs of its role, '{wire.to_port}': ami.blueprint.{mask}}}")
        return False

    def _is_sound(self, wire: Wire) -> bool:
        """Check that both ends exist and have the same kind; an unknown end has been reported already."""
        producer, consumer = self._port_owners.get(wire.node), self._port_owners.get(wire.to_node)
        sound = producer is not None and consumer is not None
        if wire.node not in self.calls:
            port = consumer.inputs.get(wire.to_port) if consumer is not None else None
            needless = port is not None and port.optional
            out = f" Fix to do without: `~graph.{wire.to_node}.{wire.to_port}`" if needless else ""
            self.mistakes.append(f"{wire.to_node}.{wire.to_port} is wired from the unknown node '{wire.node}'"
                                 f"{suggestion(wire.node, self.calls)}{out}")
        if producer is not None and wire.port not in producer.outputs:
            self.mistakes.append(f"{wire.to_node}.{wire.to_port} is wired from '{wire.node}.{wire.port}', but {wire.node} "
                                 f"has no output '{wire.port}'{suggestion(wire.port, producer.outputs)}")
            sound = False
        if consumer is not None and wire.to_port not in consumer.inputs:
            self.mistakes.append(f"{wire.to_node} has no input '{wire.to_port}'"
                                 f"{suggestion(wire.to_port, consumer.inputs)} ({self.specs[wire.to_node].name})")
            sound = False
        if not sound or producer is None or consumer is None:
            return False
        given, expected = producer.outputs[wire.port], consumer.inputs[wire.to_port]
        if given.kind != expected.kind:
            fitting = self._outputs_of(expected.kind)
            fix = f"Fix: wire it from {' or '.join(fitting)}" if fitting else "No output of this graph is of that kind"
            self.mistakes.append(f"{wire} carries the kind '{given.kind}': {wire.to_node}.{wire.to_port} expects the kind "
                                 f"'{expected.kind}'. {fix}")
            return False
        if given.dtype is not None and expected.dtype is not None and given.dtype != expected.dtype:
            self.mistakes.append(f"{wire} carries {given.dtype}: {wire.to_node}.{wire.to_port} expects {expected.dtype}. "
                                 f"Fix: a module between them that casts")
            return False
        return True

    def _outputs_of(self, kind: str) -> list[str]:
        return [f"{node}.{name}" for node, owner in self._port_owners.items() for name, port in owner.outputs.items()
                if port.kind == kind]

    def _check_inputs(self, declared: list[Wire]) -> None:
        wired = {(wire.to_node, wire.to_port) for wire in declared}
        for node, module in self._port_owners.items():
            for name, port in module.inputs.items():
                if not port.optional and (node, name) not in wired:
                    fitting = self._outputs_of(port.kind)
                    fix = f"Fix: graph.{node}.{name}={fitting[0]}" if fitting else "No output of this graph fits"
                    self.mistakes.append(f"{node}.{name} is not wired and {node} needs it ({port.describe()}). {fix}")

    def _check_calls(self) -> None:
        for node, module in self._port_owners.items():
            bound = self.calls[node]
            for name, callee in bound.items():
                if callee not in self.calls:
                    self.mistakes.append(f"{node} calls the unknown node '{callee}'{suggestion(callee, self.calls)}")
                elif name not in module.requires:
                    self.warnings.append(f"{node}.calls.{name} has no effect: {self.specs[node].name} calls "
                                         f"{', '.join(module.requires) or 'nothing'}")
                elif callee in self._port_owners:
                    known = self._port_owners[callee].callable_methods()
                    out = f"; to do without: graph.{node}.calls.{name}=null" if module.requires[name].optional else ""
                    for method in module.requires[name].methods:
                        if method not in known:
                            self.mistakes.append(f"{node} calls {callee}.{method}, which {self.specs[callee].name} does not "
                                                 f"declare callable{suggestion(method, known)} Fix: mark it "
                                                 f"@callable_method, or bind graph.{node}.calls.{name} to another node{out}")
            for name, call in module.requires.items():
                if name not in bound and not call.optional:
                    why = ": Mode-2 cannot search without it" if _is(module, Planner) else ""
                    self.mistakes.append(f"{node} needs the call '{name}' ({', '.join(call.methods)}), which is not bound"
                                         f"{why}. Fix: graph.{node}.calls.{name}=<node>")
        edges = nx.DiGraph((n, callee) for n, calls in self.calls.items() for callee in calls.values())
        for cycle in nx.simple_cycles(edges):
            calls = "call each other: call edges must not form a cycle" if len(cycle) > 1 else "calls itself"
            self.mistakes.append(f"{' → '.join([*cycle, cycle[0]])} {calls}. Fix: bind one of these calls to another node")

    def _is_for_learning(self, node: str, name: str) -> bool:
        owner = self._port_owners.get(node)
        call = owner.requires.get(name) if owner is not None else None
        return call is not None and call.learning

    def _check_devices(self, named: Mapping[str, str]) -> None:
        for node, name in named.items():
            owner = self._port_owners.get(node)
            if owner is not None and _is(owner, World):
                if name != "cpu":
                    self.mistakes.append(f"{node}.device is '{name}': a World always runs on the CPU. "
                                         f"Fix: ~graph.{node}.device")
            elif why := absent(self.devices[node]):
                self.mistakes.append(f"{node}.device is '{name}', {why}. Fix: graph.{node}.device=auto, which "
                                     "takes CUDA where there is a device and the CPU elsewhere")

    def _undelayed(self) -> nx.DiGraph:
        graph = nx.DiGraph()
        graph.add_nodes_from(sorted(self.calls))
        graph.add_edges_from((w.node, w.to_node) for w in self.wires if w.delay == 0 and not w.cut)
        return graph

    def _fire_order(self, nodes: tuple[str, ...]) -> tuple[str, ...]:
        graph = self._undelayed()
        loops = [sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1]
        loops += [[n] for n in nodes if graph.has_edge(n, n)]
        for members in sorted(loops):
            cycle = [edge[0] for edge in nx.find_cycle(graph.subgraph(members), members[0])]
            steps = list(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
            wires = [w for step in steps for w in self.wires if w.delay == 0 and not w.cut and (w.node, w.to_node) == step]
            waits = "wait for each other" if len(cycle) > 1 else "waits for itself"
            self.mistakes.append(f"{' → '.join([*cycle, cycle[0]])} {waits} within one tick. Fix: put `@-1` on "
                                 f"one of these wires: {', '.join(str(w) for w in wires)}")
        if loops:
            return tuple(nodes)
        return tuple(nx.lexicographical_topological_sort(graph))

    def _remarks(self) -> list[str]:
        read = {(wire.node, wire.port) for wire in self.wires if not wire.cut}
        found = []
        for node in self.order:
            draft = self.drafts[node]
            if not isinstance(draft, World):
                continue
            remarks = [str(remark) for remark in draft.remarks]
            own = [name for name in self.outputs[node] if name not in type(draft).outputs]
            unread = [f"{node}.{name}" for name in own if (node, name) not in read]
            if unread:
                remarks.append(f"{', '.join(unread)} {'is' if len(unread) == 1 else 'are'} sent and not read")
            if remarks:
                found.append(f"{node}: {'; '.join(remarks)}")
        return found

    def _warn_unused(self) -> None:
        read = {wire.node for wire in self.wires if not wire.cut}
        read |= {callee for calls in self.calls.values() for callee in calls.values()}
        for node in self.order:
            if node not in read and not isinstance(self.drafts[node], World):
                self.warnings.append(f"{node} has no effect: no wire and no call reads it")
        for node in sorted(set(self.specs) - set(self.calls)):
            self.warnings.append(f"module '{node}' has no effect: the graph does not name it")


def _is(owner: Module | type[Module], role: type[Module]) -> bool:
    """Return whether a module, or a class of modules, has a role."""
    return issubclass(owner if isinstance(owner, type) else type(owner), role)
