import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.errors import SettingError
from ami.evaluation.statistics import mean_interval, paired_return_test, paired_test, wilson


@pytest.mark.parametrize("successes, n, low, high", [
    (0, 10, 0.0, 0.27755), (8, 10, 0.49016, 0.94331), (10, 10, 0.72245, 1.0),
    (300, 300, 0.98736, 1.0), (485, 500, 0.95111, 0.98172), (458, 500, 0.88840, 0.93726)])
def test_wilson_gives_the_known_intervals(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=2e-5)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_and_stays_a_probability(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high


def test_a_wider_z_gives_a_wider_interval() -> None:
    narrow, wide = wilson(7, 10), wilson(7, 10, z=2.576)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("successes, n, words", [
    (0, 0, "wilson got n = 0: expected 1 trial or more"), (5, 4, "wilson got 5 successes of 4 trials: expected 0 to 4")])
def test_wilson_refuses_impossible_counts(successes: int, n: int, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        wilson(successes, n)


def test_paired_test_counts_only_where_the_agents_differ() -> None:
    first = [True] * 9 + [False] + [True] * 50 + [False] * 40
    second = [False] * 9 + [True] + [True] * 50 + [False] * 40
    test = paired_test(first, second)
    assert (test.only_first, test.only_second) == (9, 1)
    assert test.p == pytest.approx(22 / 1024)  # 2 · (C(10,0) + C(10,1)) / 2¹⁰


def test_agents_that_never_differ_are_equally_good() -> None:
    assert paired_test([True, False], [True, False]) == (0, 0, 1.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_paired_test_is_symmetric_and_a_probability(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    one, two = paired_test(first, second), paired_test(second, first)
    assert one.p == two.p and 0 < one.p <= 1
    assert (one.only_first, one.only_second) == (two.only_second, two.only_first)


def test_paired_test_stays_exact_for_many_pairs() -> None:
    assert paired_test([True] * 1500, [False] * 1500).p == pytest.approx(2 * math.exp(-1500 * math.log(2)), abs=1e-300)


def test_paired_test_wants_the_same_pairs() -> None:
    with pytest.raises(SettingError, match="judged on 1 and 2 pairs: expected the same pairs for both"):
        paired_test([True], [True, False])


def test_a_mean_has_students_interval() -> None:
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
    assert paired_return_test(hard, hard) == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(SettingError, match="judged on 12 and 3 pairs: expected the same pairs for both"):
        paired_return_test(hard, hard[:3])
