"""The contract of worlds.

Shapes: B parallel worlds, A action width.
"""

from __future__ import annotations

from ami.rollout import is_over
from ami.testing.module import check_module
from ami.testing.report import Report
from ami.testing.subject import Inputs, Make, Subject, difference, rows

BEGINS = "an episode begins without reward or end flags"
LONG = 200
"""Ticks in which an episode of most worlds ends; the end of a longer episode is not checked."""


def check_world(make: Make, *, batch: int = 3, ticks: int = LONG, report: Report | None = None) -> None:
    """Check the promises of every world.

    All of `check_module`, except snapshots · the first tick of an episode ignores the action · a row whose episode is over
    stays unchanged, with its flags set, until its next episode begins.

    Args:
        make: factory of the world.
        batch: B.
        ticks: maximal length of an episode to check its end.
        report: collects the findings; None raises at the first broken promise.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = check_module(make, batch=batch, report=report)
    with subject.keeps("the first tick shows the beginning, whatever the action", BEGINS):
        _check_beginning(subject, batch)
    with subject.keeps("an episode that is over stays over", "a row whose episode is over stays unchanged", BEGINS):
        _check_end(subject, batch, ticks)


def _check_beginning(subject: Subject, batch: int) -> None:
    (one,) = subject.sample_inputs(batch, 1)
    other: Inputs = {name: None if value is None else -value for name, value in one.items()}
    first = subject.run(subject.fresh(range(batch)), [one])[0]
    second = subject.run(subject.fresh(range(batch)), [other])[0]
    changed = difference(first, second)
    if changed:
        subject.broken("the first tick shows the beginning, whatever the action", f"{changed} with another action",
                       "do not step rows at their first tick")
    if bool(is_over(first).any()) or bool(first["reward"].any()):
        subject.broken(BEGINS, "reward or a flag is set at the first tick",
                       "report both from the second tick on")


def _check_end(subject: Subject, batch: int, ticks: int) -> None:
    module = subject.fresh(range(batch))
    sequence = subject.sample_inputs(batch, ticks)
    record = subject.run(module, sequence)
    over = [is_over(outputs) for outputs in record]
    for tick in range(1, ticks):
        ended = over[tick - 1].nonzero()[:, 0].tolist()
        if not ended:
            continue
        if not bool(over[tick][ended].all()):
            subject.broken("an episode that is over stays over", f"tick {tick} cleared a flag", "keep the flags until reset")
        still = ("observation", "goal", "truth", "terminated", "truncated", "success")
        changed = difference({n: v for n, v in rows(record[tick - 1], ended).items() if n in still},
                             {n: v for n, v in rows(record[tick], ended).items() if n in still})
        if changed:
            subject.broken("a row whose episode is over stays unchanged", f"{changed} at tick {tick}",
                           "do not step rows that are over")
    done = over[-1]
    if not bool(done.any()):
        return
    subject.begin(module, done, [row + batch for row in range(batch)])
    anew = subject.run(module, sequence[:1])[0]
    if bool(is_over(anew)[done].any()):
        subject.broken(BEGINS, "a flag is still set after begin()", "clear the flags of rows that start an episode")


