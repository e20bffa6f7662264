"""Coverage of intervals and false alarms of tests if training seeds differ: three methods, by simulation.

`python benchmarks/intervals.py`: agents that solve half of 60 pairs on average, with a random effect per training seed.
*pooled* treats all episodes as independent, *bootstrap* resamples seeds and pairs, *crossed* is the method of `ami compare`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ami.evaluation.statistics import paired_success_test, paired_test, rate_interval, wilson
from ami.storage.files import write_json

TRIALS, PAIRS, RESAMPLES = 400, 60, 300
RESULTS = Path(__file__).parent / "results" / "intervals.json"


def draw(rng: np.random.Generator, seeds: int, spread: float) -> np.ndarray:
    """(S, P) bool: rates with a standard deviation of `spread` between seeds and 0.1 between pairs."""
    rate = 0.5 + rng.normal(0, spread, (seeds, 1)) + rng.normal(0, 0.1, PAIRS)
    return rng.random((seeds, PAIRS)) < rate.clip(0, 1)


def bootstrap(rng: np.random.Generator, values: np.ndarray) -> tuple[float, float]:
    """Return the percentile interval of the mean from resampled seeds and pairs."""
    seeds, pairs = values.shape
    rows = rng.integers(seeds, size=(RESAMPLES, seeds, 1))
    means = values[rows, rng.integers(pairs, size=(RESAMPLES, 1, pairs))].mean((1, 2))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def measure(seeds: int, spread: float) -> dict[str, float]:
    """Return the coverage of 95 % intervals, and the share of equal agents that differ with p < 0.05."""
    rng = np.random.default_rng(2026)
    found = dict.fromkeys(("cover pooled", "cover bootstrap", "cover crossed", "alarm pooled", "alarm bootstrap",
                           "alarm crossed"), 0.0)
    for _ in range(TRIALS):
        one, two = draw(rng, seeds, spread), draw(rng, seeds, spread)
        difference = bootstrap(rng, one.astype(float) - two)
        for name, (low, high) in (("pooled", wilson(int(one.sum()), one.size)), ("bootstrap", bootstrap(rng, one)),
                                  ("crossed", rate_interval(one))):
            found[f"cover {name}"] += (low <= 0.5 <= high) / TRIALS
        found["alarm pooled"] += (paired_test(one.ravel(), two.ravel()).p < 0.05) / TRIALS
        found["alarm bootstrap"] += (not difference[0] <= 0 <= difference[1]) / TRIALS
        found["alarm crossed"] += (paired_success_test(one, two).p < 0.05) / TRIALS
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    figures = {f"{seeds} seeds, spread {spread}": measure(seeds, spread) for seeds in (3, 5) for spread in (0.0, 0.05, 0.15)}
    write_json(RESULTS, {"trials": TRIALS, "pairs": PAIRS, "figures": figures})
    for case, values in figures.items():
        print(case, values)
