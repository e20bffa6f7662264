import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.errors import SettingError
from ami.evaluation.statistics import (
    crossed,
    mean_interval,
    paired_return_test,
    paired_success_test,
    paired_test,
    rate_interval,
    wilson,
)


@pytest.mark.parametrize("successes, n, low, high", [
    (0, 10, 0.0, 0.27755), (8, 10, 0.49016, 0.94331), (10, 10, 0.72245, 1.0),
    (300, 300, 0.98736, 1.0), (485, 500, 0.95111, 0.98172), (458, 500, 0.88840, 0.93726)])
def test_wilson_known_intervals(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=2e-5)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_rate_within_0_and_1(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high


def test_more_confidence_gives_a_wider_interval() -> None:
    narrow, wide = wilson(7, 10), wilson(7, 10, confidence=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("successes, n, words", [
    (0, 0, "wilson got n = 0: expected 1 trial or more"), (5, 4, "wilson got 5 successes of 4 trials: expected 0 to 4")])
def test_wilson_refuses_impossible_counts(successes: int, n: int, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        wilson(successes, n)


def test_paired_test_uses_only_differing_pairs() -> None:
    first = [True] * 9 + [False] + [True] * 50 + [False] * 40
    second = [False] * 9 + [True] + [True] * 50 + [False] * 40
    test = paired_test(first, second)
    assert (test.only_first, test.only_second) == (9, 1)
    assert test.p == pytest.approx(22 / 1024)  # 2 · (C(10,0) + C(10,1)) / 2¹⁰


def test_equal_outcomes_have_p_1() -> None:
    assert paired_test([True, False], [True, False]) == (0, 0, 1.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_paired_test_is_symmetric_and_a_probability(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    one, two = paired_test(first, second), paired_test(second, first)
    assert one.p == two.p and 0 < one.p <= 1
    assert (one.only_first, one.only_second) == (two.only_second, two.only_first)


def test_paired_test_stays_exact_for_many_pairs() -> None:
    assert paired_test([True] * 1500, [False] * 1500).p == pytest.approx(2 * math.exp(-1500 * math.log(2)), abs=1e-300)


def test_paired_test_refuses_other_pairs() -> None:
    with pytest.raises(SettingError, match="evaluated on 1 and 2 pairs: expected the same pairs for both"):
        paired_test([True], [True, False])


def test_mean_interval_is_students() -> None:
    # 95 %: t(4 degrees of freedom) = 2.776, standard deviation 1.5811, n = 5
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3 - 1.9632, 3 + 1.9632), abs=1e-3)
    assert mean_interval([7.0]) == (7.0, 7.0) and mean_interval([2.0, 2.0]) == (2.0, 2.0)
    with pytest.raises(SettingError, match="mean_interval got no values: expected 1 or more"):
        mean_interval([])


def test_returns_are_compared_pair_by_pair() -> None:
    hard = [float(100 * i) for i in range(12)]  # pairs differ far more than agents do
    test = paired_return_test([value + 1 + i / 100 for i, value in enumerate(hard)], hard)
    assert test.difference == pytest.approx(1.055) and 1 < test.low < test.high < 1.1
    assert test.p == pytest.approx(2 * 0.5**12)
    assert paired_return_test(hard, hard) == (0.0, 0.0, 0.0, 1.0, "Wilcoxon")
    with pytest.raises(SettingError, match="evaluated on 12 and 3 pairs: expected the same pairs for both"):
        paired_return_test(hard, hard[:3])


# The range of what is possible ----------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30).flatmap(
    lambda row: st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(row), max_size=len(row)), min_size=1,
                         max_size=4)))
def test_mean_interval_contains_the_mean_within_the_values(rows: list[list[float]]) -> None:
    values = np.array(rows)
    low, high = mean_interval(values)
    assert values.min() <= low <= values.mean() + 1e-12 and values.mean() - 1e-12 <= high <= values.max()


@given(st.integers(1, 4).flatmap(lambda seeds: st.integers(1, 20).flatmap(lambda pairs: st.lists(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=pairs, max_size=pairs), min_size=seeds, max_size=seeds))))
def test_rate_intervals_are_valid(rows: list[list[tuple[bool, bool]]]) -> None:
    one, two = (np.array([[pair[side] for pair in row] for row in rows]) for side in (0, 1))
    low, high = rate_interval(one)
    assert 0 <= low <= one.mean() <= high <= 1 and low < high
    test = paired_success_test(one, two)
    assert -1 <= test.low <= test.difference + 1e-12 and test.difference - 1e-12 <= test.high <= 1 and 0 < test.p <= 1
    assert paired_success_test(two, one).p == pytest.approx(test.p)


def test_interval_agrees_with_the_test_for_rare_successes() -> None:
    test = paired_success_test([True] * 197 + [False] * 3, [True] * 200)
    assert test.p == 0.25 and test.low == pytest.approx(-0.0432, abs=1e-4) and test.high == pytest.approx(0.0063, abs=1e-4)


def test_newcombe_published_interval() -> None:
    # Newcombe 1998, table III: a 36, b 12, c 2, d 0 of 50 pairs, method 10: 0.0569 to 0.3404
    one, two = [True] * 48 + [False] * 2, [True] * 36 + [False] * 12 + [True] * 2
    test = paired_success_test(one, two)
    assert (test.difference, test.low, test.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=2e-4)


# The seed as the unit -------------------------------------------------------------------------------------------------


def test_crossed_equals_textbook_analysis_of_variance() -> None:
    table = np.array([[3.0, 5.0, 4.0], [6.0, 9.0, 6.0]])
    mean, error, freedom = crossed(table)
    # mean squares: seeds 13.5 (1), pairs 3.5 (2), rest 0.5 (2): (13.5 + 3.5 - 0.5) / 6 = 2.75
    assert mean == 5.5 and error == pytest.approx(2.75**0.5)
    assert freedom == pytest.approx(16.5**2 / (13.5**2 / 1 + 3.5**2 / 2 + 0.5**2 / 2))


def simulated(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Three seeds of an agent that solves half of 60 pairs, with a random effect of the seed."""
    rate = 0.5 + rng.normal(0, spread, (3, 1)) + rng.normal(0, 0.1, 60)
    return rng.random((3, 60)) < rate.clip(0, 1)


def test_coverage_under_a_seed_effect_where_pooling_fails() -> None:
    rng, trials = np.random.default_rng(7), 150
    held, pooled, alarms, pooled_alarms = 0, 0, 0, 0
    for _ in range(trials):
        one, two = simulated(rng, 0.15), simulated(rng, 0.15)
        low, high = rate_interval(one)
        held += low <= 0.5 <= high
        low, high = wilson(int(one.sum()), one.size)
        pooled += low <= 0.5 <= high
        alarms += paired_success_test(one, two).p < 0.05
        pooled_alarms += paired_test(one.ravel(), two.ravel()).p < 0.05
    assert held / trials > 0.91 and alarms / trials < 0.08
    assert pooled / trials < 0.75 and pooled_alarms / trials > 0.25


def test_large_difference_is_significant_with_three_seeds() -> None:
    rng = np.random.default_rng(3)
    better = simulated(rng, 0.03) | (rng.random((3, 60)) < 0.8)
    assert paired_success_test(better, simulated(rng, 0.03)).p < 0.05


def test_constant_difference_is_significant() -> None:
    assert paired_success_test(np.ones((3, 20), bool), np.zeros((3, 20), bool)).p < 1e-6
    assert paired_success_test(np.ones((3, 20), bool), np.ones((3, 20), bool)).p == 1.0
