"""Two minds, the recorded one and another: what differs, what follows from it, and whether their plans' energies compare."""

from __future__ import annotations

from collections.abc import Sequence

from ami.config.compose import Config
from ami.graph.graph import Graph
from ami.replay.recording import Recording
from ami.runtime.worker import Weights
from ami.session.train import train
from ami.terminal.console import Console
from ami.trace.levels import WORLD
from ami.trace.provenance import weights_hash

PLANNER = "planner"
JUDGES = ("cost", "world_model", "goal")  # what says how much energy a plan has
SETS = ("mode", "weights")  # what a planner is told, by its inputs
LEARNT_BY = ("seed", "checkpoint", "learning")  # settings that say how a mind came by its weights


def fitting_weights(recording: Recording, other: Config, graph: Graph, console: Console | None) -> Weights:
    """The recorded weights where they fit and no other training is asked for; else what the other mind has learnt, or learns
    now."""
    ours, theirs = recording.config.plain(), other.plain()
    if all(ours.get(name) == theirs.get(name) for name in LEARNT_BY) and all(
            graph.specs.get(node) == recording.graph.specs[node] and graph.dims[node] == recording.graph.dims[node]
            for node in recording.weights):
        return recording.weights
    return train(other, console).weights


def changed_in(recording: Recording, graph: Graph, weights: Weights) -> list[str]:
    """What is not the same in both minds."""
    ours = recording.graph

    def face(of: Graph, node: str, learnt: Weights) -> tuple[object, ...]:
        return (of.specs.get(node), of.calls.get(node), of.dims.get(node), of.every.get(node),
                sorted(map(str, of.inputs.get(node, ()))), weights_hash(learnt[node]) if node in learnt else None)

    return [node for node in graph.order if face(graph, node, weights) != face(ours, node, recording.weights)]


def following(graph: Graph, changed: Sequence[str]) -> tuple[str, ...]:
    """What has changed, and all that follows from it within a tick, in firing order."""
    following = graph.followers(changed) - {WORLD}
    return tuple(node for node in graph.order if node in following)


def incomparable(ours: Graph, graph: Graph, changed: Sequence[str]) -> str | None:
    """Why the energies of two planners' plans cannot be held side by side, as far as their graphs tell; None where they can.

    What a configurator that differs says is seen only while it is executed; `ami.replay.substitute` looks then.
    """
    if not all(PLANNER in one.order for one in (ours, graph)):
        return f"one of the two minds has no node '{PLANNER}'"
    sets = {wire.node for wire in graph.inputs[PLANNER] if wire.to_port in SETS and wire.node not in JUDGES}
    others = [node for node in following(graph, [node for node in changed if node not in sets]) if node in JUDGES]
    if others:
        return f"another {', '.join(others)}: energies of other costs, in other states or to other goals have no common unit"
    if _asks(ours) != _asks(graph):
        return "the planner is wired to another cost, model, state or goal"
    far, was = (one.dims[PLANNER].get("H") for one in (graph, ours))
    if far != was:
        return f"its plans look {far} steps ahead, the recorded ones {was}, and an energy is a sum over these steps"
    return None


def _asks(graph: Graph) -> tuple[object, ...]:
    """By which wires and calls a planner comes by the energy of a plan."""
    wires = sorted(str(wire) for wire in graph.inputs[PLANNER] if wire.to_port in ("state", "goal", "weights"))
    return wires, {name: callee for name, callee in graph.calls[PLANNER].items() if name in JUDGES}
