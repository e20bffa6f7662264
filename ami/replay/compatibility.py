"""Compatibility of the recorded agent with another: changed nodes, their dependents, comparable plan energies."""

from __future__ import annotations

from collections.abc import Sequence

from ami.config.compose import Config
from ami.graph.graph import Graph
from ami.replay.recording import Recording
from ami.runtime.worker import Weights
from ami.session.learn import learn
from ami.terminal.console import Console
from ami.trace.levels import WORLD
from ami.trace.provenance import weights_hash

PLANNER = "planner"
JUDGES = ("cost", "world_model", "goal")  # nodes that determine a plan's energy
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
        return (of.specs.get(node), of.calls.get(node), of.dims.get(node), of.every.get(node),
                sorted(map(str, of.inputs.get(node, ()))), weights_hash(learnt[node]) if node in learnt else None)

    return [node for node in graph.order if description(graph, node, weights) != description(ours, node, recording.weights)]


def following(graph: Graph, changed: Sequence[str]) -> tuple[str, ...]:
    """Return the changed nodes and all that depend on them within a tick, in firing order."""
    following = graph.followers(changed) - {WORLD}
    return tuple(node for node in graph.order if node in following)


def incomparable(ours: Graph, graph: Graph, changed: Sequence[str]) -> str | None:
    """Return why the energies of two planners' plans are not comparable, judged by their graphs; None if they are.

    The outputs of a changed configurator are known only during execution; `ami.replay.substitute` checks them then.
    """
    if not all(PLANNER in one.order for one in (ours, graph)):
        return f"one of the two agents has no node '{PLANNER}'"
    sets = {wire.node for wire in graph.inputs[PLANNER] if wire.to_port in SETS and wire.node not in JUDGES}
    others = [node for node in following(graph, [node for node in changed if node not in sets]) if node in JUDGES]
    if others:
        return f"another {', '.join(others)}: energies of other costs, in other states or to other goals have no common unit"
    if _energy_sources(ours) != _energy_sources(graph):
        return "the planner is wired to another cost, model, state or goal"
    far, was = (one.dims[PLANNER].get("H") for one in (graph, ours))
    if far != was:
        return f"its plans look {far} steps ahead, the recorded ones {was}, and an energy is a sum over these steps"
    return None


def _energy_sources(graph: Graph) -> tuple[object, ...]:
    """Return the wires and calls that determine the energy of a planner's plan."""
    wires = sorted(str(wire) for wire in graph.inputs[PLANNER] if wire.to_port in ("state", "goal", "weights"))
    return wires, {name: callee for name, callee in graph.calls[PLANNER].items() if name in JUDGES}
