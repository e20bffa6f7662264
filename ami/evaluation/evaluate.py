"""Evaluate: run agents on every pair of a manifest, and collect the outcomes.

The waves of pairs are in one queue, from which every agent takes its next one. The outcome of a wave does not depend on the
agent that runs it: an episode's random streams depend on its number alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
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

MODEL_STEPS = "model_steps"
PROGRESS_SECONDS = 0.1


class Progress(NamedTuple):
    """The progress of an evaluation.

    Attributes:
        finished: number of finished pairs.
        total: number of all pairs.
        succeeded: number of finished pairs that were solved.
        returned: the sum of their returns.
    """

    finished: int
    total: int
    succeeded: int
    returned: float = 0.0


class Outcome(NamedTuple):
    """The outcome of one pair.

    Attributes:
        kind: the pair's kind.
        success: whether the goal was reached; None if the world does not report it.
        steps: number of actions, up to success or the episode's end.
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
        decisions: number of actions in episodes that were not over.
        plans: number of decisions with a plan: fewer if no planner fires at every tick; 0 without a planner.
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
        """World model steps per planned decision, over all planners; 0 without plans."""
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
        """Return its figures by kind of pair; see `ami.evaluation.kinds.kinds_of`."""
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


@dataclass
class _Wave:
    """One finished wave: its outcomes by episode number, and its cost."""

    outcomes: dict[int, Outcome]
    decisions: int = 0
    plans: int = 0
    model_steps: int = 0
    seconds: float = 0.0


def planning_ports(graph: Graph) -> tuple[str, ...]:
    """Return the ports to watch for counting the model steps of all planners."""
    return tuple(f"{node}.{MODEL_STEPS}" for node in graph.nodes_of(Planner))


def evaluate(agents: Sequence[Agent], manifest: Manifest, batch: int,
             on_progress: Callable[[Progress], None] | None = None, metrics: Sequence[Metric] = (),
             on_end: Callable[[int, Outcome], None] | None = None) -> Evaluation:
    """Evaluate an agent on every pair of the manifest.

    Args:
        agents: one agent, or several equal ones that share the pairs; the `model_steps` of watched planners are counted,
            and the metrics' ports must be watched.
        manifest: the sealed pairs.
        batch: number of parallel worlds per agent.
        on_progress: called in the calling thread whenever pairs have ended.
        metrics: further figures of each episode.
        on_end: called in the calling thread with each pair's number and outcome, also if an error ends the others.

    Raises:
        SettingError: there is no agent, `batch` is below 1, or a pair is solved at the start.
        An error in any agent, or Ctrl-C, stops all agents and is raised here.
    """
    require(len(agents) >= 1, "evaluate got no agent: expected one or more")
    waiting: SimpleQueue[tuple[int, list[Episode]]] = SimpleQueue()
    for wave in manifest.waves(batch):
        waiting.put(wave)
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

    def run_waves(agent: Agent) -> list[_Wave]:
        return [_run_wave(agent, manifest, wave, episodes, ended, stop, metrics)
                for wave, episodes in _taken_from(waiting, stop)]

    with ThreadPoolExecutor(len(agents), thread_name_prefix="agent") as pool:
        try:
            pending = {pool.submit(run_waves, agent) for agent in agents}
            waves: list[_Wave] = []
            while pending:
                done, pending = wait(pending, PROGRESS_SECONDS, FIRST_COMPLETED)
                for future in done:
                    waves.extend(future.result())
                now = count(progress)
                if on_progress is not None and now != progress:
                    on_progress(now)
                progress = now
        finally:
            # also after an error or Ctrl-C: leaving `with` waits for the threads, which end at their next tick
            stop.set()
            count(progress)
    outcomes = {number: outcome for wave in waves for number, outcome in wave.outcomes.items()}
    return Evaluation(
        tuple(outcomes[number] for number in range(len(manifest.pairs))),
        decisions=sum(wave.decisions for wave in waves),
        plans=sum(wave.plans for wave in waves),
        model_steps=sum(wave.model_steps for wave in waves),
        seconds=sum(wave.seconds for wave in waves))


def _taken_from(waiting: SimpleQueue[tuple[int, list[Episode]]], stop: Event) -> Iterator[tuple[int, list[Episode]]]:
    while not stop.is_set():
        try:
            yield waiting.get_nowait()
        except Empty:
            return


def _run_wave(agent: Agent, manifest: Manifest, wave_number: int, episodes: Sequence[Episode],
              ended: SimpleQueue[tuple[int, Outcome]], stop: Event, metrics: Sequence[Metric]) -> _Wave:
    """Run one wave. A row counts until it is over; later ticks, while other rows continue, do not count."""
    wave = _Wave({})
    over = torch.zeros(len(episodes), dtype=torch.bool)
    returned = torch.zeros(len(episodes), dtype=torch.float64)
    sent: dict[str, list[Tensor]] = {port: [] for port in watched(metrics)}
    agent.reset(~over, episodes, wave_number)
    begun = time.perf_counter()
    steps = 0
    while not (bool(over.all()) or stop.is_set()):
        moment = agent.cycle()
        success = moment["world.success"]
        if steps == 0:
            manifest.refuse_solved(episodes, success.tolist())
        returned += torch.where(over, 0.0, moment["world.reward"])
        for port, values in sent.items():
            values.append(moment[port].cpu())
        over_now = moment["world.terminated"] | moment["world.truncated"]
        for row in (over_now & ~over).nonzero()[:, 0].tolist():
            pair, ret = manifest.pairs[episodes[row].number], float(returned[row])
            solved = bool(success[row]) if manifest.reports_success else None
            record = EpisodeRecord(pair, solved, steps, ret,
                                   {port: torch.stack([value[row] for value in values]) for port, values in sent.items()})
            number = episodes[row].number
            wave.outcomes[number] = Outcome(str(pair["kind"]), solved, steps, ret, {m.name: m.of(record) for m in metrics})
            ended.put((number, wave.outcomes[number]))
        over = over | over_now
        wave.decisions += int((~over).sum())
        spent = _spent(agent, moment, steps)
        if spent is not None:
            wave.plans += int((spent[~over] > 0).sum())
            wave.model_steps += int(spent[~over].sum())
        steps += 1
    wave.seconds = time.perf_counter() - begun
    return wave


def _spent(agent: Agent, moment: Mapping[str, Tensor], tick: int) -> Tensor | None:
    """Return the model steps (B,) of all planners due at this tick; None if none is due or watched.

    A planner that did not fire holds its last plan, at no cost.
    """
    due = [moment[name].cpu() for name in moment for node, _, port in (name.partition("."),)
           if port == MODEL_STEPS and tick % agent.graph.every[node] == 0]
    return torch.stack(due).sum(0) if due else None
