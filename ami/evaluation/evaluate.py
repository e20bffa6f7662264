"""Evaluate: run agents on every pair of a manifest, and collect the outcomes.

Several copies of an agent take waves of pairs from one queue. Random streams depend on seed, node and episode number alone,
so an outcome depends neither on the copy that runs the episode nor on its row. One agent without a trace
may therefore refill its rows: the next pair starts in a row as soon as the row's pair has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from threading import Event
from typing import NamedTuple

import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode, Planner, World
from ami.errors import require
from ami.evaluation.manifest import Manifest
from ami.evaluation.metrics import EpisodeRecord, Metric, watched
from ami.evaluation.outcomes import Evaluation, Outcome, Result
from ami.graph.graph import Graph
from ami.rollout import Step, rollout

MODEL_STEPS = "model_steps"
FAILURE = "failure"
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

    @classmethod
    def of(cls, results: Mapping[int, Result], total: int) -> Progress:
        """Return the progress given the results of finished pairs."""
        outcomes = [result.outcome for result in results.values()]
        return cls(len(outcomes), total, sum(bool(outcome.success) for outcome in outcomes),
                   sum(outcome.ret for outcome in outcomes))


class _Work(NamedTuple):
    """Episodes for one agent: one wave, or all of them in rows that are refilled."""

    wave: int
    episodes: Sequence[Episode]
    batch: int
    refill: bool


def evaluation_ports(graph: Graph) -> tuple[str, ...]:
    """Return the ports to watch: the model steps of all planners, and the reasons of failed episodes."""
    failures = (f"{world}.{FAILURE}" for world in graph.nodes_of(World) if FAILURE in graph.outputs[world])
    return *(f"{node}.{MODEL_STEPS}" for node in graph.nodes_of(Planner)), *failures


def evaluate(agents: Sequence[Agent], manifest: Manifest, batch: int,
             on_progress: Callable[[Progress], None] | None = None, metrics: Sequence[Metric] = (),
             on_end: Callable[[int, Result], None] | None = None, refill: bool = False,
             finished: Mapping[int, Result] | None = None) -> Evaluation:
    """Evaluate one agent, or several equal ones, on every pair of the manifest.

    Args:
        agents: they share the pairs, and all have the same modules and weights. Watch the ports of `evaluation_ports`, and
            those of the metrics.
        manifest: the sealed pairs.
        batch: number of parallel worlds per agent.
        on_progress: called in the calling thread whenever pairs have ended.
        metrics: further figures of each episode.
        on_end: called in the calling thread with each finished pair's number and result, even if an error stops the others.
        refill: start the next pair in a row as soon as its pair has ended, see `ami.rollout`. Do not use it with a trace.
            Ignored with several agents: the rows of their pairs would depend on their speed.
        finished: the results, by number, of pairs that were run before. They are not run again, except in a wave with
            others, whose ticks are those of a whole wave.

    Raises:
        SettingError: there is no agent, `batch` is below 1, or a pair is solved at the start.
        GraphError: the graph does not have one world.
        An error in any agent, or Ctrl-C, stops all agents and is raised here.
    """
    require(len(agents) >= 1, "evaluate got no agent: expected one or more")
    results = dict(finished or {})
    waiting: SimpleQueue[_Work] = SimpleQueue()
    if refill and len(agents) == 1:
        waiting.put(_Work(0, [episode for episode in manifest.episodes() if episode.number not in results], batch, True))
    else:
        for wave, episodes in manifest.waves(batch):
            if any(episode.number not in results for episode in episodes):
                waiting.put(_Work(wave, episodes, batch, False))
    ended: SimpleQueue[tuple[int, Result]] = SimpleQueue()
    stop = Event()
    progress = Progress.of(results, len(manifest.pairs))

    def collect() -> None:
        while not ended.empty():
            number, result = ended.get()
            results[number] = result
            if on_end is not None:
                on_end(number, result)

    def run_all(agent: Agent) -> None:
        for work in _taken_from(waiting, stop):
            _run(agent, manifest, work, ended, stop, metrics)

    with ThreadPoolExecutor(len(agents), thread_name_prefix="agent") as pool:
        try:
            pending = {pool.submit(run_all, agent) for agent in agents}
            while pending:
                done, pending = wait(pending, PROGRESS_SECONDS, FIRST_COMPLETED)
                for future in done:
                    future.result()
                collect()
                now = Progress.of(results, len(manifest.pairs))
                if on_progress is not None and now != progress:
                    on_progress(now)
                progress = now
        finally:
            # also after an error or Ctrl-C: leaving `with` waits for the threads, which end at their next tick
            stop.set()
            collect()
    return Evaluation.of(results)


def _taken_from(waiting: SimpleQueue[_Work], stop: Event) -> Iterator[_Work]:
    while not stop.is_set():
        try:
            yield waiting.get_nowait()
        except Empty:
            return


def _run(agent: Agent, manifest: Manifest, work: _Work, ended: SimpleQueue[tuple[int, Result]], stop: Event,
         metrics: Sequence[Metric]) -> None:
    """Run some episodes; ticks after the end of a row's episode are not counted."""
    begun = time.perf_counter()
    returned = seconds = torch.zeros(0, dtype=torch.float64)
    plans = model_steps = torch.zeros(0, dtype=torch.int64)
    history = _History(watched(metrics))
    for step in rollout(agent, work.episodes, work.batch, wave=work.wave, refill=work.refill):
        if stop.is_set():
            break
        fresh = step.alive & (step.age == 0)
        if bool(fresh.any()):
            rows = fresh.nonzero()[:, 0].tolist()
            manifest.refuse_solved([step.episodes[row] for row in rows], step.world["success"][fresh].tolist())
            returned, seconds, plans, model_steps = (
                torch.where(fresh, 0, total) if len(total) == len(fresh) else torch.zeros(len(fresh), dtype=total.dtype)
                for total in (returned, seconds, plans, model_steps))
        returned = returned + torch.where(step.alive, step.world["reward"], 0.0)
        spent = _model_steps(agent.graph, step)
        plans, model_steps = plans + (spent > 0), model_steps + spent
        now = time.perf_counter()
        seconds, begun = seconds + step.alive * ((now - begun) / int(step.alive.sum())), now
        history.add(step)
        for row in step.ended.nonzero()[:, 0].tolist():
            number, steps, ret = step.episodes[row].number, int(step.age[row]), float(returned[row])
            pair, failure = manifest.pairs[number], _failure(step, row)
            solved = bool(step.world["success"][row]) and not failure if manifest.reports_success else None
            record = EpisodeRecord(pair, solved, steps, ret, history.of(row, steps))
            outcome = Outcome(str(pair["kind"]), solved, steps, ret, {m.name: m.of(record) for m in metrics}, failure)
            ended.put((number, Result(outcome, int(plans[row]), int(model_steps[row]), float(seconds[row]))))


def _failure(step: Step, row: int) -> str:
    """Return the reason for which a row's episode failed; empty if it did not."""
    sent = (message[row] for port, message in step.outputs.items() if port.endswith(f".{FAILURE}"))
    return next((bytes(text.tolist()).rstrip(b"\0").decode() for text in sent), "")


def _model_steps(graph: Graph, step: Step) -> Tensor:
    """Return the model steps (B,) of one tick, of all planners that are watched, in rows that decide.

    A planner that does not fire at a tick holds its last plan and adds no model steps.
    """
    deciding = step.continues
    spent = torch.zeros(len(deciding), dtype=torch.int64)
    for name in step.outputs:
        node, _, port = name.partition(".")
        if port == MODEL_STEPS:
            due = deciding & (step.age % graph.every[node] == 0)
            spent += torch.where(due, step.outputs[name].cpu(), 0)
    return spent


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
