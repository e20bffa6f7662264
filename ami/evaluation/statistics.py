"""How sure a success rate or a mean return is, and whether one agent is better than another on the same pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from ami.errors import require


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a success rate; z = 1.96 covers the truth in 95 % of the cases.

    Wilson, *Probable inference, the law of succession, and statistical inference*, 1927. Unlike the textbook interval
    it stays within [0, 1] and is not empty when every trial succeeded.

    Raises:
        SettingError: `n` is below 1, or `successes` is not between 0 and `n`.
    """
    require(n >= 1, f"wilson got n = {n}: expected 1 trial or more")
    require(0 <= successes <= n, f"wilson got {successes} successes of {n} trials: expected 0 to {n}")
    rate, spread = successes / n, z * z / n
    centre = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / n + spread / (4 * n)) / (1 + spread)
    # at the ends the formula is exact, its rounding is not
    return 0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's interval of a mean; a single value says nothing of its spread and gives an interval of width 0.

    Student, *The probable error of a mean*, 1908.

    Raises:
        SettingError: there are no values.
    """
    from scipy.special import stdtrit  # needed once a run, and slow to import

    n = len(values)
    require(n >= 1, "mean_interval got no values: expected 1 or more")
    centre = fmean(values)
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * stdev(values) / math.sqrt(n) if n > 1 else 0.0
    return centre - half, centre + half


class PairedTest(NamedTuple):
    """Two agents on the same pairs.

    Attributes:
        only_first: pairs that only the first agent solved.
        only_second: pairs that only the second agent solved.
        p: how probable a difference at least this uneven is between equally good agents.
    """

    only_first: int
    only_second: int
    p: float


def paired_test(first: Sequence[bool], second: Sequence[bool]) -> PairedTest:
    """The exact two-sided test of McNemar: only pairs on which the agents differ say which one is better.

    McNemar, *Note on the sampling error of the difference between correlated proportions*, 1947, with the binomial
    distribution in place of its chi-squared approximation.

    Raises:
        SettingError: the two lists are not equally long.
    """
    require(len(first) == len(second),
            f"the agents were judged on {len(first)} and {len(second)} pairs: expected the same pairs for both")
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    differing = only_first + only_second
    tail = sum(math.comb(differing, k) for k in range(min(only_first, only_second) + 1))
    return PairedTest(only_first, only_second, min(1.0, 2 * tail / 2**differing))


class ReturnTest(NamedTuple):
    """The returns of two agents on the same pairs.

    Attributes:
        difference: how much more the first agent's mean return is.
        low, high: Student's 95 % interval of that difference.
        p: how probable ranks at least this uneven are between equally good agents.
    """

    difference: float
    low: float
    high: float
    p: float


def paired_return_test(first: Sequence[float], second: Sequence[float]) -> ReturnTest:
    """The two-sided signed-rank test of Wilcoxon on the differences of two agents' returns, pair by pair.

    Wilcoxon, *Individual comparisons by ranking methods*, 1945. Pairs with equal returns say nothing and are left out.

    Raises:
        SettingError: the two lists are not equally long, or empty.
    """
    from scipy.stats import wilcoxon

    require(len(first) == len(second),
            f"the agents were judged on {len(first)} and {len(second)} pairs: expected the same pairs for both")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    low, high = mean_interval(differences)
    p = float(wilcoxon(differences).pvalue) if any(differences) else 1.0
    return ReturnTest(fmean(differences), low, high, p)


def holm(ps: Sequence[float]) -> list[float]:
    """p values corrected for how many tests were made: each stays below 0.05 in a family of true nulls 95 % of the time.

    Holm, *A simple sequentially rejective multiple test procedure*, 1979. One test alone is not changed.
    """
    corrected = [0.0] * len(ps)
    most = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        most = max(most, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = most
    return corrected
