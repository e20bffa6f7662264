"""Substitution: what another module would have done on the recorded inputs, tick by tick, without effect on the world.

The nodes that differ, and all that depend on them within a tick, are re-executed; everything else is the recorded agent's.
Re-executed nodes receive each other's new messages, also over delayed wires, since the energy or the state of another model
would have no meaning for them. Only the previous action is always the recorded one.
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
from ami.replay.compatibility import SETS, acting_planner, changed_in, fitting_weights, following, incomparable, judges_of
from ami.replay.recording import Recording, cause
from ami.replay.reexecute import ReplayedAgent
from ami.replay.verify import Checked
from ami.rollout import is_over
from ami.runtime.held_modules import Weights
from ami.runtime.mailbox import Outputs
from ami.runtime.worker import Worker
from ami.terminal.console import Console
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Difference

MOST = 3  # largest differences to print


@dataclass(frozen=True)
class TickOutputs:
    """One decision in a running episode.

    Attributes:
        wave, tick, row: when, and in which world.
        alike: the share of equal choices for discrete actions, else the cosine of the two actions.
        apart: the share of different choices, or the Euclidean distance of the two actions.
        planned: whether both agents searched for a plan.
        gap: the other plan's energy minus the recorded one's; None if not comparable or not both planned.
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
    """Decisions of another agent and the recorded ones, on the same inputs.

    Attributes:
        folder: the run folder of the other agent's trace.
        nodes: the re-executed nodes, in firing order.
        actions: the action space.
        action: the compared output, (node, port).
        moments: every decision.
        incomparable: why the plans' energies are not comparable; None if they are.
        first: the first difference between the trace and the recorded agent, which is re-executed to provide the inputs;
            None if there is none.
        changes: what has changed since the recording, if there is a difference.
        otherwise: number of decisions in which the re-executed agent's action differs from the recorded one.
    """

    folder: Path
    nodes: tuple[str, ...]
    actions: ActionSpace
    action: tuple[str, str]
    moments: list[TickOutputs] = field(default_factory=list)
    incomparable: str | None = None
    first: Difference | None = None
    changes: list[str] = field(default_factory=list)
    otherwise: int = 0

    @property
    def choices(self) -> bool:
        """Whether the actions are discrete."""
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
        """Decisions in which both agents planned; in the others at least one reacted."""
        return [moment for moment in self.moments if moment.planned]

    @property
    def gaps(self) -> list[float]:
        """Energy of the other plan minus that of the recorded one, where both planned: below 0 the other plan is better.

        One mean per world, since the decisions of one world are correlated; empty if the energies are not comparable.
        """
        worlds: dict[tuple[int, int], list[float]] = {}
        for moment in self.moments:
            if moment.gap is not None:
                worlds.setdefault((moment.wave, moment.row), []).append(moment.gap)
        return [fmean(gaps) for gaps in worlds.values()]

    @property
    def promises_more(self) -> float | None:
        """Share of the decisions with two plans in which the other plan has less energy; None if no energies are
        comparable."""
        gaps = [moment.gap for moment in self.moments if moment.gap is not None]
        return fmean(gap < 0 for gap in gaps) if gaps else None

    def most_apart(self) -> list[TickOutputs]:
        """Return the decisions with the largest differences."""
        return sorted(self.moments, key=lambda moment: -moment.apart)[:MOST]

    def drift(self) -> str | None:
        """Return why the other agent's inputs may differ from the recorded ones; None if they are equal."""
        if self.first is None:
            return None
        return (f"the recorded agent, re-executed, differs from the trace at {self.first}, and its action differs in "
                f"{self.otherwise:,} of {len(self.moments):,} decisions. The recorded actions and energies are those of the "
                f"trace, but the inputs of the other agent come from the re-execution. "
                f"Because: {cause(self.first, self.changes)}")


def swap(recording: Recording, overrides: Sequence[str], folder: Path, console: Console | None = None) -> Swap:
    """Give a recording's inputs to an agent with other modules, and compare its decisions with the recorded ones.

    If learnt modules or the training differ, the agent is trained, or loaded from the cache, as by `ami run` with these
    overrides.

    Args:
        recording: the recorded run.
        overrides: the changes, as on the command line: `["planner=mppi"]`.
        folder: folder for the other agent's trace.
        console: for progress.

    Raises:
        SettingError: nothing differs, or the world differs.
        UnknownName, GraphError: the other configuration is invalid.
    """
    other = recording.other(overrides)
    graph = to_graph(other)
    require(all(graph.specs.get(world) == recording.graph.specs[world] for world in recording.worlds),
            f"{' '.join(overrides)} changes the world: its recorded outputs cannot be substituted. "
            "Fix: --fork TICK, which continues in another world")
    acting, sender = (one.actions_of(recording.worlds) for one in (recording.graph, graph))
    require(len(acting) == 1 and acting == sender,
            f"a substitution compares the one action that a world receives: these agents send "
            f"{', '.join(map('.'.join, acting))} and {', '.join(map('.'.join, sender))}. "
            "Fix: --fork TICK, which continues with other actions")
    weights = fitting_weights(recording, other, graph, console)
    changed = changed_in(recording, graph, weights)
    nodes = following(graph, changed)
    require(nodes != (), f"{' '.join(overrides) or 'no override'} changes nothing in this agent. Fix: `ami replay RUN` "
                         "re-executes it unchanged")
    kept = [f"{node}.{port}" for node in nodes for port in graph.outputs[node]]
    found = Swap(folder, nodes, graph.actions.get(acting[0][0], ActionSpace()), acting[0])
    found.incomparable = incomparable(recording.graph, graph, changed)
    held = Checked(recording.trace, recording.worlds)
    total = sum(recording.ticks.values())
    with (closing(TraceLog(folder / "trace" / "swap", kept)) as log,
          (console or Console(quiet=True)).counting("replay", total, "ticks") as bar):
        for wave, tick, original, swapped in _side_by_side(recording, graph, weights, nodes, held, log):
            _judge(found, recording, graph, wave, tick, original, swapped)
            bar(1, "")
    if held.first is not None:
        found.first, found.changes = held.first, recording.changes()
        named = {text.split(" was ")[0].split(".")[1] for text in found.changes if "." in text.split(" was ")[0]}
        judges = judges_of(recording.graph)
        others = [name for name in (*graph.order, "wires") if name in (named | held.parted.keys()) & {*judges, "wires"}]
        if others:
            _refuse(found, f"{', '.join(others)}: changed since the energies were recorded, see below")
    write_header(folder, graph, other.plain(), seed=recording.seed,
                 details={**recording.trace.header["details"], "overrides": list(other.overrides),
                          "swap_of": recording.trace.header["run_id"], "executed": list(nodes),
                          "incomparable": found.incomparable})
    return found


def _side_by_side(recording: Recording, graph: Graph, weights: Weights, nodes: Sequence[str], held: Checked,
                  log: TraceLog) -> Iterator[tuple[int, int, dict[str, Outputs], dict[str, Outputs]]]:
    """Yield every tick: (wave, tick, the recorded agent's outputs, the re-executed outputs)."""
    recorded = ReplayedAgent(recording, recording.graph, recording.weights, held)
    other = Worker(graph, nodes, recording.seed, weights, log)
    others = set(graph.order) - set(nodes)
    before: dict[str, Outputs] = {}
    acted: Outputs = {}  # outputs of the other actor
    ((actor, _),) = graph.actions_of(recording.worlds)
    for wave, tick, original in recorded.run():
        begun = recording.begun(wave, tick)
        if begun is not None:
            other.begin(*begun, wave)
        given = {node: outputs for node, outputs in original.items() if node in others}
        now = time.perf_counter_ns()  # playback takes no time
        for node, outputs in given.items():
            if tick % graph.every[node] == 0:
                log.add(node, wave, tick, now, now, outputs)
        # the previous action is the recorded one, whatever the other agent chose
        action = recording.actions_parcel(wave, tick - 1, before)
        swapped = other.fire(nodes, tick, [*action, (tick, given)])
        if actor in swapped:
            if tick % graph.every[actor]:  # a resting actor repeats its own last action
                swapped[actor] = acted
            acted = swapped[actor]
        before = original
        yield wave, tick, original, swapped


def _judge(found: Swap, recording: Recording, graph: Graph, wave: int, tick: int, original: dict[str, Outputs],
           swapped: dict[str, Outputs]) -> None:
    """Compare one tick's decisions with the trace."""
    over = _over(original[recording.worlds[0]]) if tick else torch.zeros(len(recording.waves[wave]), dtype=torch.bool)
    running = (~over).nonzero()[:, 0].tolist()
    outputs = {**original, **swapped}
    node, port = found.action
    one, two = recording.actions(wave, tick)[node][port], outputs[node][port]
    found.otherwise += int((one != original[node][port]).flatten(1).any(1)[~over].sum())
    if found.choices:
        apart = (found.actions.chosen(one) != found.actions.chosen(two)).float().mean(-1)
        alike = 1 - apart
    else:
        apart = torch.linalg.vector_norm(two - one, dim=-1)
        alike = torch.nn.functional.cosine_similarity(one, two, dim=-1)
    planner, own = acting_planner(graph), acting_planner(recording.graph)
    if found.incomparable is None and planner and (changed := _changed_input(graph, planner, original, swapped, ~over)):
        _refuse(found, f"{changed} differs from the trace at wave {wave}, tick {tick}, so the plans are scored differently")
    planned = _planned(recording, graph, wave, tick, outputs)
    gaps = None
    if found.incomparable is None and planner and own and any(planned):
        gaps = outputs[planner]["energy"].numpy() - recording.output(own, "energy", wave, tick)
    for row in running:
        gap = float(gaps[row]) if gaps is not None and planned[row] else None
        found.moments.append(TickOutputs(wave, tick, row, float(alike[row]), float(apart[row]), bool(planned[row]), gap))


def _refuse(found: Swap, why: str) -> None:
    """Discard the gaps: the energies are not comparable."""
    found.incomparable = found.incomparable or why
    found.moments = [replace(moment, gap=None) for moment in found.moments]


def _planned(recording: Recording, graph: Graph, wave: int, tick: int, outputs: dict[str, Outputs]) -> np.ndarray:
    """Return the rows (B,) for which both agents searched at this tick: none in Mode-1, at rest or without a planner."""
    own, planner = acting_planner(recording.graph), acting_planner(graph)
    if own is None or planner is None or tick % recording.graph.every[own] or tick % graph.every[planner]:
        return np.zeros(len(recording.waves[wave]), bool)
    searched: np.ndarray = outputs[planner]["model_steps"].numpy() > 0
    return searched & (recording.output(own, "model_steps", wave, tick) > 0)


def _changed_input(graph: Graph, planner: str, original: dict[str, Outputs], swapped: dict[str, Outputs],
                   running: Tensor) -> str | None:
    """Return the output that sets the planner differently from the recorded one in a running row, if any."""
    for wire in graph.inputs[planner]:
        if wire.to_port in SETS and wire.node in swapped and wire.node in original:
            one, two = original[wire.node].get(wire.port), swapped[wire.node][wire.port]
            if one is None or one.shape != two.shape or bool((one != two)[running].any()):
                return f"{wire.node}.{wire.port}"
    return None


def _over(world: Outputs) -> Tensor:
    """Return the rows (B,) whose episode has ended; they no longer step."""
    return is_over(world)
