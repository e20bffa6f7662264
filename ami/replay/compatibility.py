"""Compatibility of the recorded agent with another: changed nodes, their dependents, comparable plan energies."""

from __future__ import annotations

from collections.abc import Sequence

from ami.blueprint import Cost, Goal, Planner, World, WorldModel
from ami.config.compose import Config
from ami.graph.graph import Graph
from ami.replay.recording import Recording
from ami.runtime.held_modules import Weights
from ami.session.learn import learn
from ami.terminal.console import Console
from ami.trace.provenance import weights_hash

JUDGES = (Cost, WorldModel, Goal)  # roles that determine a plan's energy
SETS = ("mode", "weights")  # planner inputs that change how plans are scored
LEARNT_BY = ("seed", "checkpoint", "learning")  # settings that determine the learnt weights


def fitting_weights(recording: Recording, other: Config, graph: Graph, console: Console | None) -> Weights:
    """Return the recorded weights if they fit and the training is unchanged; else those of the other agent, trained now
    unless cached."""
    ours, theirs = recording.config.plain(), other.plain()
    if all(ours.get(name) == theirs.get(name) for name in LEARNT_BY) and all(
            graph.specs.get(node) == recording.graph.specs[node] and graph.dims[node] == recording.graph.dims[node]
            for node in recording.weights):
        return recording.weights
    return learn(other, console).weights


def changed_in(recording: Recording, graph: Graph, weights: Weights) -> list[str]:
    """Return the nodes that differ between the two agents."""
    ours = recording.graph

    def description(of: Graph, node: str, learnt: Weights) -> tuple[object, ...]:
        return (of.specs.get(node), of.calls.get(node), of.dims.get(node), of.every.get(node), of.devices.get(node),
                sorted(map(str, of.inputs.get(node, ()))), weights_hash(learnt[node]) if node in learnt else None)

    return [node for node in graph.order if description(graph, node, weights) != description(ours, node, recording.weights)]


def acting_planner(graph: Graph) -> str | None:
    """Return the planner whose plan the worlds' actions follow: the nearest one up the wires; None without one, or if
    several are equally near."""
    senders = {node for node, _ in graph.actions_of(graph.nodes_of(World))}
    planners, seen = set(graph.nodes_of(Planner)), set(senders)
    while senders:
        found = senders & planners
        if found:
            return found.pop() if len(found) == 1 else None
        senders = {wire.node for node in senders for wire in graph.inputs[node]} - seen
        seen |= senders
    return None


def judges_of(graph: Graph) -> set[str]:
    """Return the nodes that determine the energy of plans."""
    return {node for role in JUDGES for node in graph.nodes_of(role)}


def following(graph: Graph, changed: Sequence[str]) -> tuple[str, ...]:
    """Return the changed nodes and all that depend on them within a tick, in firing order."""
    following = graph.followers(changed) - set(graph.nodes_of(World))
    return tuple(node for node in graph.order if node in following)


def incomparable(ours: Graph, graph: Graph, changed: Sequence[str]) -> str | None:
    """Return why the energies of two planners' plans are not comparable, judged by their graphs; None if they are.

    The outputs of a changed configurator are known only during execution; `ami.replay.substitute` checks them then.
    """
    planner, own = acting_planner(graph), acting_planner(ours)
    if planner is None or own is None:
        return "one of the two agents has no planner, or several, that its actions follow"
    judges = judges_of(graph)
    sets = {wire.node for wire in graph.inputs[planner] if wire.to_port in SETS and wire.node not in judges}
    others = [node for node in following(graph, [node for node in changed if node not in sets]) if node in judges]
    if others:
        return f"another {', '.join(others)}: energies of other costs, in other states or to other goals have no common unit"
    if _energy_sources(ours, own) != _energy_sources(graph, planner):
        return "the planner is wired to another cost, model, state or goal"
    far, was = graph.dims[planner].get("H"), ours.dims[own].get("H")
    if far != was:
        return f"its plans look {far} steps ahead, the recorded ones {was}, and an energy is a sum over these steps"
    return None


def _energy_sources(graph: Graph, planner: str) -> tuple[object, ...]:
    """Return the outputs and calls that determine the energy of a planner's plan."""
    wires = sorted((wire.to_port, wire.node, wire.port, wire.delay, wire.cut) for wire in graph.inputs[planner]
                   if wire.to_port in ("state", "goal", "weights"))
    judges = judges_of(graph)
    return wires, {name: callee for name, callee in graph.calls[planner].items() if callee in judges}
