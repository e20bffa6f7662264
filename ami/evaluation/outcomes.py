"""The results of an evaluation: the outcome of each pair, what its episode cost, and both together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ami.evaluation.kinds import kinds_of
from ami.evaluation.statistics import Difference, PairedTest, paired_return_test, paired_test


class Outcome(NamedTuple):
    """The outcome of one pair.

    Attributes:
        kind: the pair's kind.
        success: whether the goal was reached; None if the world does not report it.
        steps: number of actions until the episode's end.
        ret: its return, the undiscounted sum of the world's rewards.
        metrics: the metrics named in `evaluation.metrics`.
        failure: the reason if its environment failed; such an episode is no success.
    """

    kind: str
    success: bool | None
    steps: int
    ret: float = 0.0
    metrics: Mapping[str, float] = {}
    failure: str = ""


class Result(NamedTuple):
    """A finished episode.

    Attributes:
        outcome: its outcome.
        plans: number of its decisions at which a planner fired and planned.
        model_steps: world model steps of all planners in it.
        seconds: its share of the wall seconds of the agent's cycles: the running rows share each cycle equally.
    """

    outcome: Outcome
    plans: int
    model_steps: int
    seconds: float


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

    @classmethod
    def of(cls, results: Mapping[int, Result]) -> Evaluation:
        """Return the evaluation of all pairs, given their results by number."""
        found = [results[number] for number in range(len(results))]
        return cls(tuple(result.outcome for result in found), decisions=sum(result.outcome.steps for result in found),
                   plans=sum(result.plans for result in found), model_steps=sum(result.model_steps for result in found),
                   seconds=sum(result.seconds for result in found))

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

    def failures(self) -> dict[str, int]:
        """Return the reasons for which environments failed, and the number of episodes of each."""
        return dict(Counter(outcome.failure for outcome in self.outcomes if outcome.failure))

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
