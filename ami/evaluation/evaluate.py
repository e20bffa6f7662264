"""Evaluate: let agents live every pair of a manifest, and count.

The waves of pairs wait in one queue and every agent takes the next when it is done with its last. Who lives a wave
makes no difference to its outcome: an episode's random streams hang on its number alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from statistics import fmean
from threading import Event
from typing import NamedTuple

import torch

from ami.agent import Agent
from ami.blueprint import Episode
from ami.errors import require
from ami.evaluation.manifest import Manifest
from ami.evaluation.statistics import PairedTest, ReturnTest, mean_interval, paired_return_test, paired_test, wilson

PLANNER = "planner"
MODEL_STEPS = f"{PLANNER}.model_steps"
PROGRESS_SECONDS = 0.1


class Progress(NamedTuple):
    """How far an evaluation has come.

    Attributes:
        finished: pairs that are over.
        total: all pairs.
        succeeded: how many of those over were solved.
        returned: the sum of their returns.
    """

    finished: int
    total: int
    succeeded: int
    returned: float = 0.0


class Outcome(NamedTuple):
    """What became of one pair.

    Attributes:
        kind: the pair's kind.
        success: whether the goal was reached; None where the world does not say.
        steps: how many actions the episode took, up to success or to its end.
        ret: its return, the undiscounted sum of the world's rewards.
    """

    kind: str
    success: bool | None
    steps: int
    ret: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """What agents brought from a manifest.

    Attributes:
        outcomes: one per pair, in the manifest's order.
        decisions: how many actions were chosen in worlds that were not over.
        plans: how many plans were made for them: fewer where the planner does not fire at every tick; 0 without a planner.
        model_steps: how many steps of the world model those plans used in all.
        seconds: wall seconds the agents spent in their cycles, summed over agents.
    """

    outcomes: tuple[Outcome, ...]
    decisions: int
    plans: int
    model_steps: int
    seconds: float

    @property
    def model_steps_per_plan(self) -> float:
        """Steps of the world model per plan; 0 when no plan was made."""
        return self.model_steps / max(self.plans, 1)

    @property
    def ms_per_decision(self) -> float:
        """Wall milliseconds per decision; a wave of B worlds shares the time of its cycle."""
        return 1000 * self.seconds / max(self.decisions, 1)

    @property
    def tells_success(self) -> bool:
        """Whether the world says of every pair if it was solved."""
        return all(outcome.success is not None for outcome in self.outcomes)

    def kinds(self) -> dict[str, dict[str, float | int | None]]:
        """By kind: n; success rate, its 95 % Wilson interval and the mean steps of the solved pairs, each None where the
        world does not tell success; mean return and its 95 % interval."""
        figures: dict[str, dict[str, float | int | None]] = {}
        for kind in dict.fromkeys(outcome.kind for outcome in self.outcomes):
            steps = [o.steps for o in self.outcomes if o.kind == kind and o.success]
            returns = self.returns(kind)
            n = len(returns)
            told = self.tells_success
            low, high = wilson(len(steps), n) if told else (None, None)
            least, most = mean_interval(returns)
            figures[kind] = {"n": n, "success": len(steps) / n if told else None, "low": low, "high": high,
                             "mean_steps": sum(steps) / len(steps) if steps else None,
                             "return": fmean(returns), "return_low": least, "return_high": most}
        return figures

    def successes(self, kind: str | None = None) -> list[bool]:
        """Whether each pair was solved, in the manifest's order; None takes every kind."""
        return [bool(outcome.success) for outcome in self.outcomes if kind in (None, outcome.kind)]

    def returns(self, kind: str | None = None) -> list[float]:
        """The return of each pair, in the manifest's order; None takes every kind."""
        return [outcome.ret for outcome in self.outcomes if kind in (None, outcome.kind)]

    def against(self, other: Evaluation, kind: str | None = None) -> PairedTest:
        """McNemar's exact test of this agent against another one on the same pairs, by success."""
        return paired_test(self.successes(kind), other.successes(kind))

    def returns_against(self, other: Evaluation, kind: str | None = None) -> ReturnTest:
        """Wilcoxon's signed-rank test of this agent against another one on the same pairs, by return."""
        return paired_return_test(self.returns(kind), other.returns(kind))


@dataclass
class _Wave:
    """One finished wave: (number, success, steps, return) by row, and what it cost."""

    rows: list[tuple[int, bool, int, float]]
    decisions: int = 0
    plans: int = 0
    model_steps: int = 0
    seconds: float = 0.0


def evaluate(agents: Sequence[Agent], manifest: Manifest, batch: int,
             on_progress: Callable[[Progress], None] | None = None) -> Evaluation:
    """Judge an agent on every pair of the manifest.

    Args:
        agents: one agent, or several equal ones that share the pairs; `planner.model_steps` is counted where watched.
        manifest: the sealed pairs.
        batch: how many worlds an agent lives in side by side.
        on_progress: is told in the calling thread, whenever pairs have ended.

    Raises:
        SettingError: there is no agent, `batch` is below 1, or a pair is solved at the start.
        An error in any agent stops all of them and is raised here; so does Ctrl-C.
    """
    require(len(agents) >= 1, "evaluate got no agent: expected one or more")
    waiting: SimpleQueue[tuple[int, list[Episode]]] = SimpleQueue()
    for wave in manifest.waves(batch):
        waiting.put(wave)
    ended: SimpleQueue[tuple[bool, float]] = SimpleQueue()
    stop = Event()

    def live_waves(agent: Agent) -> list[_Wave]:
        return [_live(agent, manifest, wave, episodes, ended, stop) for wave, episodes in _taken_from(waiting, stop)]

    with ThreadPoolExecutor(len(agents), thread_name_prefix="agent") as pool:
        try:
            pending = {pool.submit(live_waves, agent) for agent in agents}
            waves: list[_Wave] = []
            progress = Progress(0, len(manifest.pairs), 0)
            while pending:
                done, pending = wait(pending, PROGRESS_SECONDS, FIRST_COMPLETED)
                for future in done:
                    waves.extend(future.result())
                now = _count(progress, ended)
                if on_progress is not None and now != progress:
                    on_progress(now)
                progress = now
        finally:
            # reached by an error or Ctrl-C too: leaving `with` waits for the threads, which end at their next tick
            stop.set()
    rows = {number: (success if manifest.tells_success else None, steps, ret)
            for wave in waves for number, success, steps, ret in wave.rows}
    return Evaluation(
        tuple(Outcome(str(pair["kind"]), *rows[number]) for number, pair in enumerate(manifest.pairs)),
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


def _live(agent: Agent, manifest: Manifest, number: int, episodes: Sequence[Episode],
          ended: SimpleQueue[tuple[bool, float]], stop: Event) -> _Wave:
    """Live one wave. A row counts until it is over; what happens there later, while others go on, does not."""
    wave = _Wave([])
    over = torch.zeros(len(episodes), dtype=torch.bool)
    returned = torch.zeros(len(episodes), dtype=torch.float64)
    agent.reset(~over, episodes, number)
    begun = time.perf_counter()
    steps = 0
    while not (bool(over.all()) or stop.is_set()):
        moment = agent.cycle()
        success = moment["world.success"]
        if steps == 0:
            manifest.refuse_solved(episodes, success.tolist())
        returned += torch.where(over, 0.0, moment["world.reward"])
        over_now = moment["world.terminated"] | moment["world.truncated"]
        for row in (over_now & ~over).nonzero()[:, 0].tolist():
            wave.rows.append((episodes[row].number, bool(success[row]), steps, float(returned[row])))
            ended.put((bool(success[row]), float(returned[row])))
        over = over | over_now
        wave.decisions += int((~over).sum())
        # a planner that did not fire holds its last plan: nothing was spent on it again
        if MODEL_STEPS in moment and steps % agent.graph.every[PLANNER] == 0:
            spent = moment[MODEL_STEPS].cpu()[~over]
            wave.plans += int((spent > 0).sum())
            wave.model_steps += int(spent.sum())
        steps += 1
    wave.seconds = time.perf_counter() - begun
    return wave


def _count(progress: Progress, ended: SimpleQueue[tuple[bool, float]]) -> Progress:
    finished, total, succeeded, returned = progress
    while not ended.empty():
        success, ret = ended.get()
        finished, succeeded, returned = finished + 1, succeeded + success, returned + ret
    return Progress(finished, total, succeeded, returned)
