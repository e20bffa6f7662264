"""Figures by kind of pair: of one agent, and of two on the same pairs. Tables, CSV, plots and MLflow use them.

An agent has one evaluation per training seed; see `ami.evaluation.statistics` for the statistical unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ami.evaluation.statistics import (
    Difference,
    mean_interval,
    paired_return_test,
    paired_success_test,
    paired_test,
    rate_interval,
)

if TYPE_CHECKING:
    from ami.evaluation.outcomes import Evaluation


def kinds_of(seeds: Sequence[Evaluation]) -> dict[str, dict[str, Any]]:
    """Return the figures of one agent, by kind of pair.

    Args:
        seeds: its evaluations on the same pairs, one per training seed.

    Returns:
        {kind: {"n", the episodes of all seeds; "success", its rate, "low", "high", its 95 % interval, each None if the
        world does not report success; "mean_steps" of the solved episodes, of all if success is not reported, None if
        none was solved; "return", "return_low", "return_high"; "metrics": {name: {"mean", "low", "high"}}, if any;
        "failed", the number of episodes whose environment failed, if any; they are not solved}}
    """
    figures: dict[str, dict[str, Any]] = {}
    has_success = all(one.reports_success for one in seeds)
    for kind in dict.fromkeys(outcome.kind for one in seeds for outcome in one.outcomes):
        outcomes = [outcome for one in seeds for outcome in one.outcomes if outcome.kind == kind]
        steps = [outcome.steps for outcome in outcomes if outcome.success or not has_success]
        solved = [one.successes(kind) for one in seeds]
        returns = [one.returns(kind) for one in seeds]
        low, high = rate_interval(solved) if has_success else (None, None)
        least, most = _returns_interval(seeds, kind, low, high)
        figures[kind] = {"n": len(outcomes), "success": fmean(map(fmean, solved)) if has_success else None,
                         "low": low, "high": high, "mean_steps": fmean(steps) if steps else None,
                         "return": fmean(map(fmean, returns)), "return_low": least, "return_high": most}
        failed = sum(bool(outcome.failure) for outcome in outcomes)
        figures[kind] |= {"failed": failed} if failed else {}
        names = list(dict.fromkeys(name for outcome in outcomes for name in outcome.metrics))
        if names:
            figures[kind]["metrics"] = {name: _metric(seeds, kind, name) for name in names}
    return figures


def differences(ones: Sequence[Evaluation], others: Sequence[Evaluation], kind: str) -> dict[str, dict[str, Any]]:
    """Compare two agents on the same pairs of one kind, paired by seed and pair.

    Returns:
        {"return": {"difference", "low", "high", "p", "test"}, "success": the same with "only_this" and "only_other", the
        episodes that only one of them solved, if the world reports success; "metrics": {name: the same}}. A return that
        is a function of success has the same test.
    """
    found: dict[str, dict[str, Any]] = {}
    returns = paired_return_test([one.returns(kind) for one in ones], [other.returns(kind) for other in others])
    if all(one.reports_success for one in (*ones, *others)):
        mine, theirs = [one.successes(kind) for one in ones], [other.successes(kind) for other in others]
        success = paired_success_test(mine, theirs)
        counted = paired_test([*chain(*mine)], [*chain(*theirs)])
        found["success"] = {**success._asdict(), "only_this": counted.only_first, "only_other": counted.only_second}
        scale = repeated([*ones, *others], kind)
        if scale is not None:
            failed, solved = scale
            low, high = sorted((success.low * (solved - failed), success.high * (solved - failed)))
            returns = Difference(success.difference * (solved - failed), low, high, success.p, success.test)
    found["return"] = returns._asdict()
    names = {name for one in ones for outcome in one.outcomes for name in outcome.metrics}
    shared = [name for name in dict.fromkeys(name for other in others for outcome in other.outcomes
                                             for name in outcome.metrics) if name in names]
    if shared:
        found["metrics"] = {name: paired_return_test([one.metric(name, kind) for one in ones],
                                                [other.metric(name, kind) for other in others])._asdict() for name in shared}
    return found


def repeated(seeds: Sequence[Evaluation], kind: str) -> tuple[float, float] | None:
    """Return the returns of a failed and of a solved episode if return is a function of success; None otherwise."""
    outcomes = [outcome for one in seeds for outcome in one.outcomes if outcome.kind == kind]
    if all(outcome.ret == outcome.success for outcome in outcomes):
        return 0.0, 1.0
    failed, solved = ({outcome.ret for outcome in outcomes if outcome.success is is_solved} for is_solved in (False, True))
    return (failed.pop(), solved.pop()) if len(failed) == len(solved) == 1 and failed != solved else None


def _returns_interval(seeds: Sequence[Evaluation], kind: str, low: float | None, high: float | None) -> tuple[float, float]:
    scale = repeated(seeds, kind) if low is not None else None
    if scale is None or low is None or high is None:
        return mean_interval([one.returns(kind) for one in seeds])
    failed, solved = scale
    least, most = sorted((failed + low * (solved - failed), failed + high * (solved - failed)))
    return least, most


def _metric(seeds: Sequence[Evaluation], kind: str, name: str) -> dict[str, float]:
    values = [one.metric(name, kind) for one in seeds]
    low, high = mean_interval(values)
    return {"mean": fmean(map(fmean, values)), "low": low, "high": high}
