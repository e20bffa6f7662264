"""Confidence intervals of success rates and means, and paired tests of two agents.

With one training seed the unit is the pair: figures generalise to other pairs for that trained agent. With several seeds the
unit is the seed, crossed with the pairs: every seed runs the same pairs, and episodes of one seed are not independent trials
(Colas, Sigaud and Oudeyer, *A hitchhiker's guide to statistical comparisons of reinforcement learning algorithms*, 2019;
Agarwal and others, *Deep reinforcement learning at the edge of the statistical precipice*, 2021). Values are then arrays
(S, P): S seeds, P pairs. `benchmarks/intervals.py` measures coverage and false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ami.errors import require

CONFIDENCE = 0.95
RESAMPLES = 4000
BOOTSTRAP_SEED = 0  # equal data, equal interval
MANY = 2000  # the bootstrap's acceleration costs the square of the number of values
AT_ONCE = 100  # resamples held in memory together

Values = Sequence[float] | Sequence[Sequence[float]] | np.ndarray
"""(P,) of one training seed, or (S, P)."""


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate of independent trials.

    Wilson, *Probable inference, the law of succession, and statistical inference*, 1927. Unlike the textbook interval
    it stays within [0, 1] and is not empty when every trial succeeded.

    Raises:
        SettingError: `n` is below 1, or `successes` is not between 0 and `n`.
    """
    from scipy.stats import binomtest  # slow to import

    require(n >= 1, f"wilson got n = {n}: expected 1 trial or more")
    require(0 <= successes <= n, f"wilson got {successes} successes of {n} trials: expected 0 to {n}")
    low, high = binomtest(successes, n).proportion_ci(confidence, "wilson")
    # exact ends, without rounding errors
    return 0.0 if successes == 0 else float(low), 1.0 if successes == n else float(high)


def rate_interval(solved: Values) -> tuple[float, float]:
    """Return the 95 % interval of a success rate, within [0, 1].

    Wilson's for one seed. For several seeds Wilson's formula with the effective number of trials (the number of independent
    trials with the same standard error) and Student's quantile (Dean and Pagano, *Evaluating confidence interval methods for
    binomial proportions in clustered surveys*, 2015).
    """
    values = _table(solved)
    successes, n = int(values.sum()), values.size
    if len(values) == 1:
        return wilson(successes, n)
    from scipy.stats import t

    rate, (_, error, freedom) = successes / n, crossed(values)
    effective = min(n, rate * (1 - rate) / error**2) if error else n
    square = float(t.ppf(0.5 + CONFIDENCE / 2, freedom)) ** 2 / effective
    centre = (rate + square / 2) / (1 + square)
    half = np.sqrt(square * (rate * (1 - rate) + square / 4)) / (1 + square)
    low, high = float(max(0.0, centre - half)), float(min(1.0, centre + half))
    return 0.0 if successes == 0 else low, 1.0 if successes == n else high


def mean_interval(values: Values, within: tuple[float, float] | None = None) -> tuple[float, float]:
    """Return the 95 % interval of a mean, within a range.

    Student's (*The probable error of a mean*, 1908), for several seeds with the standard error of `crossed`. If that of
    one seed leaves the range, the bias-corrected and accelerated bootstrap (Efron, *Better bootstrap confidence intervals*,
    1987) replaces it; that of several seeds is clipped, since too few cannot be resampled. A single value has an interval
    of width 0.

    Args:
        within: the range of the mean; by default that of the observed values.

    Raises:
        SettingError: there are no values.
    """
    table = _table(values)
    require(table.size >= 1, "mean_interval got no values: expected 1 or more")
    low, high = within or (float(table.min()), float(table.max()))
    if table.min() == table.max():
        return float(table.min()), float(table.max())
    from scipy.stats import bootstrap, t

    mean, error, freedom = crossed(table) if len(table) > 1 else Crossed(
        float(table.mean()), float(table.std(ddof=1)) / table.size**0.5, table.size - 1)
    half = float(t.ppf(0.5 + CONFIDENCE / 2, freedom)) * error
    if len(table) > 1 or table.size > MANY or (low <= mean - half and mean + half <= high):
        return max(low, mean - half), min(high, mean + half)
    found = bootstrap((table[0],), np.mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, batch=AT_ONCE, method="BCa",
                      rng=np.random.default_rng(BOOTSTRAP_SEED)).confidence_interval
    return max(low, float(found.low)), min(high, float(found.high))


class Crossed(NamedTuple):
    """The mean of values that depend on a training seed and on a pair.

    Attributes:
        mean: over all seeds and pairs.
        error: its standard error, over seeds and pairs.
        freedom: the degrees of freedom of that error.
    """

    mean: float
    error: float
    freedom: float


def crossed(values: Values) -> Crossed:
    """Run a two-way analysis of variance with random seeds and random pairs, one value per cell.

    The variance of the mean is σ²(seed)/S + σ²(pair)/P + σ²(rest)/SP, each estimated from mean squares and none below 0; its
    degrees of freedom are Satterthwaite's (*An approximate distribution of estimates of variance components*, 1946). This
    is the analysis of multi-reader studies (Dorfman, Berbaum and Metz, 1992), and of subjects and items in psycholinguistics
    (Clark, 1973).

    Args:
        values: (S, P), two seeds or more.
    """
    table = _table(values)
    seeds, pairs = table.shape
    require(seeds >= 2, f"crossed got {seeds} training seed: expected 2 or more")
    mean = float(table.mean())
    seed_square = pairs * float(table.mean(1).var(ddof=1))
    if pairs == 1:
        return Crossed(mean, (seed_square / seeds) ** 0.5, seeds - 1)
    pair_square = seeds * float(table.mean(0).var(ddof=1))
    rest = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + mean
    rest_square = float(np.square(rest).sum()) / ((seeds - 1) * (pairs - 1))
    by_seed, by_pair = max(seed_square, rest_square), max(pair_square, rest_square)
    total = by_seed + by_pair - rest_square
    spread = by_seed**2 / (seeds - 1) + by_pair**2 / (pairs - 1) + rest_square**2 / ((seeds - 1) * (pairs - 1))
    return Crossed(mean, (total / table.size) ** 0.5, total**2 / spread if spread else seeds - 1)


class Difference(NamedTuple):
    """Two agents on the same pairs.

    Attributes:
        difference: the first agent's mean minus the second's.
        low, high: the 95 % interval of that difference.
        p: the probability of a difference at least this uneven between equally good agents.
        test: which test: "McNemar", "Wilcoxon" or, with several seeds, "crossed".
    """

    difference: float
    low: float
    high: float
    p: float
    test: str


def paired_success_test(first: Values, second: Values) -> Difference:
    """Compare two success rates: McNemar's exact test and Newcombe's interval for one seed, the crossed test for several.

    Raises:
        SettingError: the pairs differ.
    """
    one, two = _same_pairs(first, second)
    p = paired_test(one.ravel().astype(bool).tolist(), two.ravel().astype(bool).tolist()).p
    if len(one) == 1:
        return Difference(float((one - two).mean()), *newcombe(one[0].astype(bool), two[0].astype(bool)), p, "McNemar")
    return _compare(one, two, "McNemar", p, (-1.0, 1.0))


def newcombe(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two success rates on the same pairs (P,), within [-1, 1].

    Newcombe, *Improved confidence intervals for the difference between binomial proportions based on paired data*, 1998,
    method 10: the Wilson intervals of both rates, combined with the correlation of the two outcomes.
    """
    n, rates = len(first), (float(first.mean()), float(second.mean()))
    (low, high), (other_low, other_high) = (wilson(int(side.sum()), n) for side in (first, second))
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    product = both * neither - int((first & ~second).sum()) * int((~first & second).sum())
    margins = float(first.sum() * (~first).sum() * second.sum() * (~second).sum())
    correlation = (max(0.0, product - n / 2) if product > 0 else product) / margins**0.5 if margins else 0.0

    def reach(mine: float, theirs: float) -> float:
        return float(np.sqrt(max(0.0, mine**2 - 2 * correlation * mine * theirs + theirs**2)))

    difference = rates[0] - rates[1]
    return (max(-1.0, difference - reach(rates[0] - low, other_high - rates[1])),
            min(1.0, difference + reach(high - rates[0], rates[1] - other_low)))


def paired_return_test(first: Values, second: Values) -> Difference:
    """Compare two means, such as returns: Wilcoxon's signed-rank test for one seed, the crossed test for several.

    Wilcoxon, *Individual comparisons by ranking methods*, 1945; pairs with equal values are left out.

    Raises:
        SettingError: the pairs differ, or there are none.
    """
    one, two = _same_pairs(first, second)
    differences = (one - two).ravel()
    p = 1.0
    if differences.any():
        from scipy.stats import wilcoxon

        p = float(wilcoxon(differences).pvalue)
    reach = float(max(one.max(), two.max()) - min(one.min(), two.min()))
    return _compare(one, two, "Wilcoxon", p, (-reach, reach))


def _compare(one: np.ndarray, two: np.ndarray, test: str, p: float, within: tuple[float, float]) -> Difference:
    """Return the difference with the given test and p for one seed, and those of the crossed test for several seeds."""
    differences = one - two
    if len(differences) > 1:
        from scipy.stats import t

        mean, error, freedom = crossed(differences)
        test, p = "crossed", float(2 * t.sf(abs(mean) / error, freedom)) if error else p
    low, high = mean_interval(differences, within)
    return Difference(float(differences.mean()), low, high, p, test)


class PairedTest(NamedTuple):
    """Two agents on the same pairs.

    Attributes:
        only_first: pairs that only the first agent solved.
        only_second: pairs that only the second agent solved.
        p: the probability of a difference at least this uneven between equally good agents.
    """

    only_first: int
    only_second: int
    p: float


def paired_test(first: Sequence[bool], second: Sequence[bool]) -> PairedTest:
    """Run McNemar's exact two-sided test, which uses only the pairs on which the agents differ.

    McNemar, *Note on the sampling error of the difference between correlated proportions*, 1947, with the binomial
    distribution in place of its chi-squared approximation.

    Raises:
        SettingError: the lists differ in length.
    """
    from scipy.stats import binomtest

    one, two = (array.astype(bool) for array in _same_pairs(first, second))
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    differing = only_first + only_second
    return PairedTest(only_first, only_second, float(binomtest(only_first, differing).pvalue) if differing else 1.0)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple tests: the family-wise error rate at 0.05 is at most 5 %.

    Holm, *A simple sequentially rejective multiple test procedure*, 1979. A single test is unchanged.
    """
    corrected = [0.0] * len(ps)
    most = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        most = max(most, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = most
    return corrected


def _table(values: Values) -> np.ndarray:
    """Return values as (S, P) float; one seed may lack its axis."""
    return np.atleast_2d(np.asarray(values, dtype=float))


def _same_pairs(first: Values, second: Values) -> tuple[np.ndarray, np.ndarray]:
    one, two = _table(first), _table(second)
    require(one.shape == two.shape, f"the agents were evaluated on {_counted(one)} and {_counted(two)} pairs: expected the "
                                    "same pairs for both")
    return one, two


def _counted(table: np.ndarray) -> str:
    return str(table.shape[1]) if len(table) == 1 else f"{len(table)} × {table.shape[1]}"
