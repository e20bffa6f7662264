"""Swap: what another module would have done. It is given what was recorded, tick by tick; the world never hears of it.

What differs between the two minds, and all that follows from it within a tick, is executed a second time; everything else is
the recorded mind's. Of a module that is executed a second time the others hear what it said itself, late too: the energy or
the state of another model would mean nothing to them. Only what was done last is always what was really done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from ami.config.compose import to_graph
from ami.errors import require
from ami.graph.graph import Graph
from ami.ports import ActionSpace
from ami.replay.compatibility import JUDGES, PLANNER, SETS, changed_in, fitting_weights, following, incomparable
from ami.replay.recording import ACTOR, Recording, cause
from ami.replay.reexecute import Mind
from ami.replay.verify import Checked
from ami.runtime.worker import Outputs, Weights, Worker
from ami.terminal.console import Console
from ami.trace.header import write_header
from ami.trace.levels import WORLD
from ami.trace.log import TraceLog
from ami.trace.reader import Difference

MOST = 3  # so many moments where they part most are told


@dataclass(frozen=True)
class TickOutputs:
    """One decision, in a world that was not over.

    Attributes:
        wave, tick, row: when, and in which world.
        alike: the share of equal choices where an action consists of choices, else the cosine of the two actions.
        apart: the share of other choices, or the Euclidean distance of the two actions.
        planned: whether both minds searched for a plan.
        gap: the other plan's energy less the recorded one's; None where they are not comparable or somebody did not plan.
    """

    wave: int
    tick: int
    row: int
    alike: float
    apart: float
    planned: bool
    gap: float | None


@dataclass
class Swap:
    """One mind's decisions beside the recorded ones, on the same inputs.

    Attributes:
        folder: the other mind's trace, a run's folder.
        nodes: what was executed a second time, in firing order.
        actions: what an action consists of.
        moments: every decision.
        incomparable: why the energies of the plans are not; None where they are.
        first: where the recorded mind, executed anew to give the other one its inputs, parts from the record; None where it
            says the same.
        changes: what the recording depends on and has changed since, where it parts.
        otherwise: in how many decisions it acts otherwise than was recorded.
    """

    folder: Path
    nodes: tuple[str, ...]
    actions: ActionSpace
    moments: list[TickOutputs] = field(default_factory=list)
    incomparable: str | None = None
    first: Difference | None = None
    changes: list[str] = field(default_factory=list)
    otherwise: int = 0

    @property
    def choices(self) -> bool:
        """Whether an action consists of choices alone."""
        return self.actions.is_discrete

    @property
    def agreement(self) -> float:
        """The share of equal choices, or the mean cosine of the two actions, over all decisions."""
        return fmean(moment.alike for moment in self.moments)

    @property
    def apart(self) -> float:
        """The mean distance of the two actions, over all decisions."""
        return fmean(moment.apart for moment in self.moments)

    @property
    def planned(self) -> list[TickOutputs]:
        """The decisions in which both minds planned; in the others at least one of them reacted."""
        return [moment for moment in self.moments if moment.planned]

    @property
    def gaps(self) -> list[float]:
        """The other plan's energy less the recorded one's, where both planned: below 0 the other plan promises more.

        One mean per world, since the decisions of one world hang together; empty where the energies are not comparable.
        """
        worlds: dict[tuple[int, int], list[float]] = {}
        for moment in self.moments:
            if moment.gap is not None:
                worlds.setdefault((moment.wave, moment.row), []).append(moment.gap)
        return [fmean(gaps) for gaps in worlds.values()]

    @property
    def promises_more(self) -> float | None:
        """Of the decisions in which both planned, the share in which the other plan has less energy; None where none can be
        compared."""
        gaps = [moment.gap for moment in self.moments if moment.gap is not None]
        return fmean(gap < 0 for gap in gaps) if gaps else None

    def most_apart(self) -> list[TickOutputs]:
        """Where they part most."""
        return sorted(self.moments, key=lambda moment: -moment.apart)[:MOST]

    def drift(self) -> str | None:
        """Why what the other mind is given is not quite what was recorded; None where it is."""
        if self.first is None:
            return None
        return (f"the recorded mind, executed anew, says something else than was recorded at {self.first}, and acts "
                f"otherwise in {self.otherwise:,} of {len(self.moments):,} decisions. The recorded actions and energies are "
                f"those of the record, but what the other mind is given is what this code makes of the recorded world. "
                f"Because: {cause(self.first, self.changes)}")


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
    require(graph.specs[WORLD] == recording.graph.specs[WORLD],
            f"{' '.join(overrides)} changes the world: what it showed is recorded and cannot be swapped. "
            "Fix: --fork TICK, which lets another world go on")
    weights = fitting_weights(recording, other, graph, console)
    changed = changed_in(recording, graph, weights)
    nodes = following(graph, changed)
    require(nodes != (), f"{' '.join(overrides) or 'no override'} changes nothing in this mind. Fix: `ami replay RUN` "
                         "alone executes it as it was")
    kept = [f"{node}.{port}" for node in nodes for port in graph.outputs[node]]
    found = Swap(folder, nodes, graph.actions.get(ACTOR, ActionSpace()))
    found.incomparable = incomparable(recording.graph, graph, changed)
    held = Checked(recording.trace)
    total = sum(recording.ticks.values())
    with (closing(TraceLog(folder / "trace" / "swap", kept)) as log,
          (console or Console(quiet=True)).counting("replay", total, "ticks") as bar):
        for wave, tick, original, swapped in _side_by_side(recording, graph, weights, nodes, held, log):
            _judge(found, recording, graph, wave, tick, original, swapped)
            bar(1, "")
    if held.first is not None:
        found.first, found.changes = held.first, recording.changes()
        named = {text.split(" was ")[0].split(".")[1] for text in found.changes if "." in text.split(" was ")[0]}
        others = [name for name in (*JUDGES, "wires") if name in named | held.parted.keys()]
        if others:
            _refuse(found, f"{', '.join(others)}: not what the recorded energies were made with, see below")
    write_header(folder, graph, other.plain(), seed=recording.seed,
                 details={**recording.trace.header["details"], "overrides": list(other.overrides),
                          "swap_of": recording.trace.header["run_id"], "executed": list(nodes),
                          "incomparable": found.incomparable})
    return found


def _side_by_side(recording: Recording, graph: Graph, weights: Weights, nodes: Sequence[str], held: Checked,
                  log: TraceLog) -> Iterator[tuple[int, int, dict[str, Outputs], dict[str, Outputs]]]:
    """Every tick: (wave, tick, the recorded mind's outputs, the other's where it was executed)."""
    recorded = Mind(recording, recording.graph, recording.weights, held)
    other = Worker(graph, nodes, recording.seed, weights, log)
    others = set(graph.order) - set(nodes)
    before: Outputs = {}  # what the recorded actor said
    acted: Outputs = {}  # what the other one did
    for wave, tick, original in recorded.live():
        if tick == 0:
            episodes = recording.waves[wave]
            other.begin(torch.ones(len(episodes), dtype=torch.bool), episodes, wave)
        given = {node: outputs for node, outputs in original.items() if node in others}
        now = time.perf_counter_ns()  # what is played back takes no time
        for node, outputs in given.items():
            if tick % graph.every[node] == 0:
                log.add(node, wave, tick, now, now, outputs)
        # what was done last is what was really done, whatever the other mind would have done
        really = recording.deed(wave, tick - 1, before)
        swapped = other.fire(nodes, tick, [*really, (tick, given)])
        if ACTOR in swapped:
            if tick % graph.every[ACTOR]:  # an actor that rests would go on with what it chose itself
                swapped[ACTOR] = acted
            acted = swapped[ACTOR]
        before = original[ACTOR]
        yield wave, tick, original, swapped


def _judge(found: Swap, recording: Recording, graph: Graph, wave: int, tick: int, original: dict[str, Outputs],
           swapped: dict[str, Outputs]) -> None:
    """Hold one tick's decisions against the record."""
    over = _over(original[WORLD]) if tick else torch.zeros(len(recording.waves[wave]), dtype=torch.bool)
    living = (~over).nonzero()[:, 0].tolist()
    told = {**original, **swapped}
    one, two = recording.done(wave, tick)["action"], told[ACTOR]["action"]
    found.otherwise += int((one != original[ACTOR]["action"]).flatten(1).any(1)[~over].sum())
    if found.choices:
        apart = (found.actions.chosen(one) != found.actions.chosen(two)).float().mean(-1)
        alike = 1 - apart
    else:
        apart = torch.linalg.vector_norm(two - one, dim=-1)
        alike = torch.nn.functional.cosine_similarity(one, two, dim=-1)
    if found.incomparable is None and (otherwise := _set_otherwise(graph, original, swapped, ~over)):
        _refuse(found, f"{otherwise} at wave {wave}, tick {tick}, so the plans are not judged alike")
    planned = _planned(recording, graph, wave, tick, told)
    gaps = None
    if found.incomparable is None and any(planned):
        gaps = told[PLANNER]["energy"].numpy() - recording.told(PLANNER, "energy", wave, tick)
    for row in living:
        gap = float(gaps[row]) if gaps is not None and planned[row] else None
        found.moments.append(TickOutputs(wave, tick, row, float(alike[row]), float(apart[row]), bool(planned[row]), gap))


def _refuse(found: Swap, why: str) -> None:
    """Take back the gaps: the energies are not comparable after all."""
    found.incomparable = found.incomparable or why
    found.moments = [replace(moment, gap=None) for moment in found.moments]


def _planned(recording: Recording, graph: Graph, wave: int, tick: int, told: dict[str, Outputs]) -> np.ndarray:
    """Rows (B,) for which both minds searched at this tick: in Mode-1, at rest or without a planner nobody does."""
    graphs = (recording.graph, graph)
    if not all(PLANNER in one.order and tick % one.every[PLANNER] == 0 for one in graphs):
        return np.zeros(len(recording.waves[wave]), bool)
    searched: np.ndarray = told[PLANNER]["model_steps"].numpy() > 0
    return searched & (recording.told(PLANNER, "model_steps", wave, tick) > 0)


def _set_otherwise(graph: Graph, original: dict[str, Outputs], swapped: dict[str, Outputs], living: Tensor) -> str | None:
    """What the planner is told otherwise than the recorded one in a living row, if anything."""
    for wire in graph.inputs[PLANNER]:
        if wire.to_port in SETS and wire.node in swapped and wire.node in original:
            one, two = original[wire.node].get(wire.port), swapped[wire.node][wire.port]
            if one is None or one.shape != two.shape or bool((one != two)[living].any()):
                return f"{wire.node}.{wire.port} is not the recorded one"
    return None


def _over(world: Outputs) -> Tensor:
    """Rows (B,) whose episode is over: they stand still."""
    return world["terminated"] | world["truncated"]
