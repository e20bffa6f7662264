"""Evaluate: run agents on every pair of a manifest, and collect the outcomes.

Several copies of an agent take waves of pairs from one queue. Random streams depend on seed, node and episode number alone,
so an outcome depends neither on the copy that runs the episode nor on its row. One agent without a trace
may therefore refill its rows: the next pair starts in a row as soon as the row's pair has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode, Planner
from ami.errors import require
from ami.evaluation.kinds import kinds_of
from ami.evaluation.manifest import Manifest
from ami.evaluation.metrics import EpisodeRecord, Metric, watched
from ami.evaluation.statistics import Difference, PairedTest, paired_return_test, paired_test
from ami.graph.graph import Graph
from ami.rollout import Step, rollout

MODEL_STEPS = "model_steps"
PROGRESS_SECONDS = 0.1


class Progress(NamedTuple):
    """The progress of an evaluation.

    Attributes:
        finished: number of finished pairs.
        total: number of all pairs.
        succeeded: number of finished pairs that were solved.
        total_return: the sum of the returns of all finished pairs.
    """

    finished: int
    total: int
    succeeded: int
    total_return: float = 0.0


class Outcome(NamedTuple):
    """The outcome of one pair.

    Attributes:
        kind: the pair's kind.
        success: whether the goal was reached; None if the world does not report it.
        steps: number of actions until the episode's end.
        ret: its return, the undiscounted sum of the world's rewards.
        metrics: the metrics named in `evaluation.metrics`.
    """

    kind: str
    success: bool | None
    steps: int
    ret: float = 0.0
    metrics: Mapping[str, float] = {}


@dataclass(frozen=True)
class Evaluation:
    """The results of agents on a manifest.

    Attributes:
        outcomes: one per pair, in the manifest's order.
        decisions: number of actions in running episodes.
        plans: number of decisions at which a planner fired and planned; 0 without a planner.
        model_steps: world model steps of all planners.
        seconds: wall seconds of the agents' cycles, summed over agents.
    """

    outcomes: tuple[Outcome, ...]
    decisions: int
    plans: int
    model_steps: int
    seconds: float

    @property
    def model_steps_per_plan(self) -> float:
        """World model steps of all planners per decision counted in `plans`; 0 without plans."""
        return self.model_steps / max(self.plans, 1)

    @property
    def ms_per_decision(self) -> float:
        """Wall milliseconds per decision; the B worlds of a wave share the time of a cycle."""
        return 1000 * self.seconds / max(self.decisions, 1)

    @property
    def reports_success(self) -> bool:
        """Whether the world reports success for every pair."""
        return all(outcome.success is not None for outcome in self.outcomes)

    def kinds(self) -> dict[str, dict[str, Any]]:
        """Return the figures of each kind of pair; see `ami.evaluation.kinds.kinds_of`."""
        return kinds_of([self])

    def successes(self, kind: str | None = None) -> list[bool]:
        """Return whether each pair was solved, in the manifest's order; None takes every kind."""
        return [bool(outcome.success) for outcome in self.outcomes if kind in (None, outcome.kind)]

    def returns(self, kind: str | None = None) -> list[float]:
        """Return the return of each pair, in the manifest's order; None takes every kind."""
        return [outcome.ret for outcome in self.outcomes if kind in (None, outcome.kind)]

    def metric(self, name: str, kind: str | None = None) -> list[float]:
        """Return a metric of each pair, in the manifest's order; None takes every kind."""
        return [outcome.metrics[name] for outcome in self.outcomes if kind in (None, outcome.kind)]

    def against(self, other: Evaluation, kind: str | None = None) -> PairedTest:
        """Run McNemar's exact test of this agent against another one on the same pairs, by success."""
        return paired_test(self.successes(kind), other.successes(kind))

    def returns_against(self, other: Evaluation, kind: str | None = None) -> Difference:
        """Run Wilcoxon's signed-rank test of this agent against another one on the same pairs, by return."""
        return paired_return_test(self.returns(kind), other.returns(kind))


class _Work(NamedTuple):
    """Episodes for one agent: one wave, or all of them in rows that are refilled."""

    wave: int
    episodes: Sequence[Episode]
    batch: int
    refill: bool


@dataclass
class _Part:
    """The results of finished episodes: outcomes by episode number, and what they cost."""

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    decisions: int = 0
    plans: int = 0
    model_steps: int = 0
    seconds: float = 0.0


def planning_ports(graph: Graph) -> tuple[str, ...]:
    """Return the ports to watch for counting the model steps of all planners."""
    return tuple(f"{node}.{MODEL_STEPS}" for node in graph.nodes_of(Planner))


def evaluate(agents: Sequence[Agent], manifest: Manifest, batch: int,
             on_progress: Callable[[Progress], None] | None = None, metrics: Sequence[Metric] = (),
             on_end: Callable[[int, Outcome], None] | None = None, refill: bool = False) -> Evaluation:
    """Evaluate one agent, or several equal ones, on every pair of the manifest.

    Args:
        agents: they share the pairs, and all have the same modules and weights. Watch the ports of `planning_ports`, whose
            model steps are counted, and those of the metrics.
        manifest: the sealed pairs.
        batch: number of parallel worlds per agent.
        on_progress: called in the calling thread whenever pairs have ended.
        metrics: further figures of each episode.
        on_end: called in the calling thread with each finished pair's number and outcome, even if an error stops the others.
        refill: start the next pair in a row as soon as its pair has ended, see `ami.rollout`. Do not use it with a trace.
            Ignored with several agents: the rows of their pairs would depend on their speed.

    Raises:
        SettingError: there is no agent, `batch` is below 1, or a pair is solved at the start.
        GraphError: the graph does not have one world.
        An error in any agent, or Ctrl-C, stops all agents and is raised here.
    """
    require(len(agents) >= 1, "evaluate got no agent: expected one or more")
    waiting: SimpleQueue[_Work] = SimpleQueue()
    if refill and len(agents) == 1:
        waiting.put(_Work(0, manifest.episodes(), batch, True))
    else:
        for wave, episodes in manifest.waves(batch):
            waiting.put(_Work(wave, episodes, batch, False))
    ended: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()
    stop = Event()
    progress = Progress(0, len(manifest.pairs), 0)

    def count(progress: Progress) -> Progress:
        finished, total, succeeded, returned = progress
        while not ended.empty():
            number, outcome = ended.get()
            if on_end is not None:
                on_end(number, outcome)
            finished, succeeded, returned = finished + 1, succeeded + bool(outcome.success), returned + outcome.ret
        return Progress(finished, total, succeeded, returned)

    def run_all(agent: Agent) -> list[_Part]:
        return [_run(agent, manifest, work, ended, stop, metrics) for work in _taken_from(waiting, stop)]

    with ThreadPoolExecutor(len(agents), thread_name_prefix="agent") as pool:
        try:
            pending = {pool.submit(run_all, agent) for agent in agents}
            parts: list[_Part] = []
            while pending:
                done, pending = wait(pending, PROGRESS_SECONDS, FIRST_COMPLETED)
                for future in done:
                    parts.extend(future.result())
                now = count(progress)
                if on_progress is not None and now != progress:
                    on_progress(now)
                progress = now
        finally:
            # also after an error or Ctrl-C: leaving `with` waits for the threads, which end at their next tick
            stop.set()
            count(progress)
    outcomes = {number: outcome for part in parts for number, outcome in part.outcomes.items()}
    return Evaluation(
        tuple(outcomes[number] for number in range(len(manifest.pairs))),
        decisions=sum(part.decisions for part in parts),
        plans=sum(part.plans for part in parts),
        model_steps=sum(part.model_steps for part in parts),
        seconds=sum(part.seconds for part in parts))


def _taken_from(waiting: SimpleQueue[_Work], stop: Event) -> Iterator[_Work]:
    while not stop.is_set():
        try:
            yield waiting.get_nowait()
        except Empty:
            return


def _run(agent: Agent, manifest: Manifest, work: _Work, ended: SimpleQueue[tuple[int, Outcome]], stop: Event,
         metrics: Sequence[Metric]) -> _Part:
    """Run some episodes; ticks after the end of a row's episode are not counted."""
    part, begun = _Part(), time.perf_counter()
    returned = torch.zeros(0, dtype=torch.float64)
    history = _History(watched(metrics))
    for step in rollout(agent, work.episodes, work.batch, wave=work.wave, refill=work.refill):
        if stop.is_set():
            break
        fresh = step.alive & (step.age == 0)
        if bool(fresh.any()):
            rows = fresh.nonzero()[:, 0].tolist()
            manifest.refuse_solved([step.episodes[row] for row in rows], step.world["success"][fresh].tolist())
            returned = torch.where(fresh, 0.0, returned) if len(returned) else torch.zeros(len(fresh), dtype=torch.float64)
        returned = returned + torch.where(step.alive, step.world["reward"], 0.0)
        history.add(step)
        for row in step.ended.nonzero()[:, 0].tolist():
            number, steps, ret = step.episodes[row].number, int(step.age[row]), float(returned[row])
            pair, solved = manifest.pairs[number], bool(step.world["success"][row]) if manifest.reports_success else None
            record = EpisodeRecord(pair, solved, steps, ret, history.of(row, steps))
            part.outcomes[number] = Outcome(str(pair["kind"]), solved, steps, ret, {m.name: m.of(record) for m in metrics})
            ended.put((number, part.outcomes[number]))
        _count(part, agent.graph, step)
    part.seconds = time.perf_counter() - begun
    return part


def _count(part: _Part, graph: Graph, step: Step) -> None:
    """Add the decisions of one tick, and the plans and model steps of all planners that are watched.

    A planner that does not fire at a tick holds its last plan and adds no model steps.
    """
    deciding = step.continues
    part.decisions += int(deciding.sum())
    spent = torch.zeros(len(deciding), dtype=torch.int64)
    for name in step.outputs:
        node, _, port = name.partition(".")
        if port == MODEL_STEPS:
            due = deciding & (step.age % graph.every[node] == 0)
            spent += torch.where(due, step.outputs[name].cpu(), 0)
    part.plans += int((spent > 0).sum())
    part.model_steps += int(spent.sum())


class _History:
    """The messages of some ports since the oldest running episode began."""

    def __init__(self, ports: Sequence[str]) -> None:
        self._sent: dict[str, list[Tensor]] = {port: [] for port in ports}

    def add(self, step: Step) -> None:
        if not self._sent:
            return
        longest = int(torch.where(step.alive, step.age, 0).max()) + 1
        for port, values in self._sent.items():
            values.append(step.outputs[port].cpu())
            del values[:-longest]

    def of(self, row: int, steps: int) -> dict[str, Tensor]:
        """Return the messages of one row at its last `steps` + 1 ticks, (steps + 1, …) by port."""
        return {port: torch.stack([value[row] for value in values[-steps - 1:]]) for port, values in self._sent.items()}
