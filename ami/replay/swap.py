"""Swap: what another module would have done. It is given what was recorded, tick by tick; the world never hears of it.

What differs between the two minds, and all that follows from it within a tick, is executed a second time. Everything else,
and with it the past, is the recorded mind's: what was done last is what was really done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from ami.config import Config, to_graph
from ami.console import Console
from ami.errors import require
from ami.graph import Graph
from ami.ports import Choices
from ami.replay.again import Mind
from ami.replay.recording import Recording
from ami.tracing.header import write_header
from ami.tracing.levels import ACTION, WORLD
from ami.tracing.log import TraceLog
from ami.tracing.origin import weights_hash
from ami.training import train
from ami.worker import Outputs, Weights, Worker

ACTOR = ACTION.split(".")[0]
PLANNER = "planner"
LEARNT_BY = ("seed", "checkpoint", "learning")  # settings that say how a mind came by its weights
MOST = 3  # so many moments where they part most are told


@dataclass(frozen=True)
class Moment:
    """One decision, in a world that was not over."""

    wave: int
    tick: int
    row: int
    apart: float
    gap: float | None


@dataclass
class Swap:
    """One mind's decisions beside another's, on the same inputs.

    Attributes:
        folder: the other mind's trace, a run's folder.
        nodes: what was executed a second time, in firing order.
        choices: whether an action is one of several choices; then `apart` is 0 or 1, else the Euclidean distance.
        moments: every decision.
        cosines: of the two actions at every decision; empty for choices.
    """

    folder: Path
    nodes: tuple[str, ...]
    choices: bool
    moments: list[Moment] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)

    @property
    def agreement(self) -> float:
        """The share of equal choices, or the mean cosine of the two actions."""
        return 1 - fmean(moment.apart for moment in self.moments) if self.choices else fmean(self.cosines)

    @property
    def apart(self) -> float:
        """The mean distance of the two actions."""
        return fmean(moment.apart for moment in self.moments)

    @property
    def gaps(self) -> list[float]:
        """The other plan's energy less the recorded one's, by the same cost: below 0 the other plan promises more. One mean
        per world, since the decisions of one world hang together; empty where the costs are not the same."""
        worlds: dict[tuple[int, int], list[float]] = {}
        for moment in self.moments:
            if moment.gap is not None:
                worlds.setdefault((moment.wave, moment.row), []).append(moment.gap)
        return [fmean(gaps) for gaps in worlds.values()]

    @property
    def promises_more(self) -> float:
        """The share of decisions in which the other plan has less energy."""
        return fmean(moment.gap is not None and moment.gap < 0 for moment in self.moments)

    def most_apart(self) -> list[Moment]:
        """Where they part most."""
        return sorted(self.moments, key=lambda moment: -moment.apart)[:MOST]


def swap(recording: Recording, overrides: Sequence[str], folder: Path, console: Console | None = None) -> Swap:
    """Give a recording's inputs to a mind with other modules, and hold its decisions beside the recorded ones.

    A mind whose learnt modules or training differ is found trained, or trained, as `ami run` with these overrides would.

    Args:
        recording: what happened.
        overrides: what differs, as on the command line: `["planner=mppi"]`.
        folder: where the other mind's trace goes.
        console: where progress is shown.

    Raises:
        SettingError: nothing differs, or the world does.
        UnknownName, GraphError: the other mind is unsound.
    """
    other = recording.other(overrides)
    graph = to_graph(other)
    require(graph.parts[WORLD] == recording.graph.parts[WORLD],
            f"{' '.join(overrides)} changes the world: what it showed is recorded and cannot be swapped. "
            "Cure: --fork TICK, which lets another world go on")
    weights = fitting_weights(recording, other, graph, console)
    nodes = _differing(recording, graph, weights)
    require(nodes != (), f"{' '.join(overrides) or 'no override'} changes nothing in this mind. Cure: `ami replay RUN` "
                         "alone executes it as it was")
    write_header(folder, graph, other.plain(), seed=recording.seed,
                 details={**recording.trace.header["details"], "overrides": list(other.overrides),
                          "swap_of": recording.trace.header["run_id"], "executed": list(nodes)})
    kept = [f"{node}.{port}" for node in nodes for port in graph.outputs[node]]
    found = Swap(folder, nodes, isinstance(graph.dims[ACTOR].get("A"), Choices))
    same_cost = not {"cost", "world_model", "goal"} & set(nodes)
    total = sum(recording.ticks.values())
    with (closing(TraceLog(folder / "trace" / "swap", kept)) as log,
          (console or Console(quiet=True)).counting("replay", total, "ticks") as bar):
        for wave, tick, original, swapped in _side_by_side(recording, graph, weights, nodes, log):
            _judge(found, recording, wave, tick, original, swapped, same_cost)
            bar(1, "")
    return found


def fitting_weights(recording: Recording, other: Config, graph: Graph, console: Console | None) -> Weights:
    """The recorded weights where they fit and no other training is asked for; else what the other mind has learnt, or learns
    now."""
    ours, theirs = recording.config.plain(), other.plain()
    if all(ours.get(name) == theirs.get(name) for name in LEARNT_BY) and all(
            graph.parts.get(node) == recording.graph.parts[node] and graph.dims[node] == recording.graph.dims[node]
            for node in recording.weights):
        return recording.weights
    return train(other, console).weights


def _differing(recording: Recording, graph: Graph, weights: Weights) -> tuple[str, ...]:
    """What is not the same in both minds, and all that follows from it within a tick."""
    ours = recording.graph

    def face(of: Graph, node: str, learnt: Weights) -> tuple[object, ...]:
        return (of.parts.get(node), of.calls.get(node), of.dims.get(node), sorted(map(str, of.inputs.get(node, ()))),
                weights_hash(learnt[node]) if node in learnt else None)

    changed = [node for node in graph.order if face(graph, node, weights) != face(ours, node, recording.weights)]
    following = graph.followers(changed) - {WORLD}
    return tuple(node for node in graph.order if node in following)


def _side_by_side(recording: Recording, graph: Graph, weights: Weights, nodes: Sequence[str],
                  log: TraceLog) -> Iterator[tuple[int, int, dict[str, Outputs], dict[str, Outputs]]]:
    """Every tick: (wave, tick, the recorded mind's outputs, the other's where it was executed)."""
    recorded = Mind(recording, recording.graph, recording.weights)
    other = Worker(graph, nodes, recording.seed, weights, log)
    others = set(graph.order) - set(nodes)
    before: dict[str, Outputs] = {}
    for wave, tick, original in recorded.live():
        if tick == 0:
            episodes = recording.waves[wave]
            other.begin(torch.ones(len(episodes), dtype=torch.bool), episodes, wave)
            before = {}
        given = {node: outputs for node, outputs in original.items() if node in others}
        for node, outputs in given.items():
            log.add(node, wave, tick, 0, 0, outputs)
        # what was done last is what was really done, whatever the other mind would have done
        really = [(tick - 1, {ACTOR: before[ACTOR]})] if ACTOR in before else []
        yield wave, tick, original, other.fire(nodes, tick, [*really, (tick, given)])
        before = original


def _judge(found: Swap, recording: Recording, wave: int, tick: int, original: dict[str, Outputs],
           swapped: dict[str, Outputs], same_cost: bool) -> None:
    over = _over(original[WORLD]) if tick else torch.zeros(len(recording.waves[wave]), dtype=torch.bool)
    one, two = original[ACTOR]["action"], {**original, **swapped}[ACTOR]["action"]
    apart = (one.argmax(-1) != two.argmax(-1)).float() if found.choices else torch.linalg.vector_norm(two - one, dim=-1)
    gaps = _gaps(original, swapped) if same_cost else None
    for row in (~over).nonzero()[:, 0].tolist():
        found.moments.append(Moment(wave, tick, row, float(apart[row]), None if gaps is None else float(gaps[row])))
    if not found.choices:
        cosine = torch.nn.functional.cosine_similarity(one, two, dim=-1)
        found.cosines += cosine[~over].tolist()


def _gaps(original: dict[str, Outputs], swapped: dict[str, Outputs]) -> np.ndarray | None:
    """How much more energy the other plan has, (B,); None where one of the minds makes none."""
    both = [outputs.get(PLANNER, {}).get("energy") for outputs in (original, swapped)]
    one, two = both
    return None if one is None or two is None else (two - one).numpy()


def _over(world: Outputs) -> Tensor:
    """Rows (B,) whose episode is over: they stand still."""
    return world["terminated"] | world["truncated"]
