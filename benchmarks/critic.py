"""The critic as the cost of the last imagined state: success across the wall by horizon, with and without it.

    python benchmarks/critic.py [--store runs/studies]

About eight minutes; writes benchmarks/results/critic.json and docs/studies/critic.md. One training per seed, that of
benchmarks/mode1.py, whose model and critic are the default agent's. Then the same world model and the same CEM plan H steps
ahead with four costs: the default, the default without its critic, the default with an untrained critic, and the plain
distance to the goal, which does not saturate.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import STUDIES, page, record
from study import evaluate_agent, figures, learn, manifest_of, of_kind, pooled

from ami.evaluation.manifest import Manifest
from ami.runtime.held_modules import Weights

matplotlib.use("agg")
from matplotlib import pyplot as plt

torch.set_num_threads(1)
SEEDS, PAIRS = (0, 1, 2), 200
HORIZONS, FULL, HALF = (1, 2, 4, 8), 4, 2
COSTS: dict[str, tuple[str, ...]] = {
    "with the critic": (),
    "without it, saturated": ("cost.weights={critic: 0.0}",),
    "without it, not saturated": ("cost=goal_distance",),
    "an untrained critic": (),
}
THRESHOLDS = {
    "with the critic, half the horizon, across, worst seed": 0.95,
    "with the critic, full horizon, across, worst seed": 0.95,
    "without it, saturated, half the horizon, across, at most": 0.5,
    "not saturated, half the horizon, across, points that the critic adds": 5.0,
    "an untrained critic, half the horizon, across, at most": 0.5,
}


def untrained(weights: Weights) -> Weights:
    """The weights without the critic's; the measured statistics of intrinsic terms stay."""
    return {node: {name: value for name, value in state.items() if not name.startswith("critics.")}
            for node, state in weights.items()}


def judged(seed: int, weights: Weights, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """{cost: {horizon: figures}}"""
    found: dict[str, dict[str, Any]] = {}
    for name, more in COSTS.items():
        own = untrained(weights) if "untrained" in name else weights
        for horizon in HORIZONS:
            pairs = manifest if horizon == FULL else of_kind(manifest, ["across"])
            evaluation = evaluate_agent([*more, f"planner.horizon={horizon}"], own, pairs, seed)
            found.setdefault(name, {})[str(horizon)] = figures(evaluation)
    return found


def rates(runs: Sequence[Mapping[str, Any]], cost: str, horizon: int) -> list[float]:
    return [float(run["costs"][cost][str(horizon)]["across"]["success"]) for run in runs]


def verdicts(runs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, bool]]:
    """Return each threshold's figure and whether it is met."""
    half = {cost: mean(rates(runs, cost, HALF)) for cost in COSTS}
    values = dict(zip(THRESHOLDS, (
        min(rates(runs, "with the critic", HALF)), min(rates(runs, "with the critic", FULL)), half["without it, saturated"],
        100 * (half["with the critic"] - half["without it, not saturated"]), half["an untrained critic"]), strict=True))
    return {name: (value, value <= THRESHOLDS[name] if "at most" in name else value >= THRESHOLDS[name])
            for name, value in values.items()}


def picture(runs: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Plot success across the wall by horizon: the mean of the seeds, and the range from worst to best."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name in COSTS:
        each = [[100 * rate for rate in rates(runs, name, horizon)] for horizon in HORIZONS]
        axes.plot(HORIZONS, [mean(values) for values in each], marker="o", label=name)
        axes.fill_between(HORIZONS, [min(values) for values in each], [max(values) for values in each], alpha=0.2)
    axes.set(xscale="log", xticks=HORIZONS, xticklabels=[str(h) for h in HORIZONS], xlabel="horizon, steps",
             ylabel="success across the wall, %", ylim=(-2, 102))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def text(runs: Sequence[Mapping[str, Any]], met: Mapping[str, tuple[float, bool]]) -> str:
    """The page."""
    across = "\n".join(
        f"| {name} | " + " | ".join(pooled([run["costs"][name][str(h)] for run in runs], "across") for h in HORIZONS) + " |"
        for name in COSTS)
    same = "\n".join(
        f"| {name} | {pooled([run['costs'][name][str(FULL)] for run in runs], 'same_room')} |" for name in COSTS)
    lines = "\n".join(f"| {name} | {THRESHOLDS[name]:.3g} | {value:.3g} | {'met' if ok else '**missed**'} |"
                      for name, (value, ok) in met.items())
    return f"""
# The critic as the cost of the last state

**Question.** In the paper a critic predicts the intrinsic energy beyond the planning horizon (section 3.3). What is it
worth, and how much horizon does it replace?

**Method.** Per training seed ({len(runs)}) the default agent learns once. Then the same world model and the same CEM (32
candidates, 2 iterations) plan H steps ahead under these costs, on the same {PAIRS} sealed pairs of each kind:

* *with the critic*: the default, an intrinsic energy that saturates at one step's distance, and the critic;
* *without it, saturated*: the same with the critic's weight at 0;
* *without it, not saturated*: only the distance to the goal in the learnt states (`cost=goal_distance`);
* *an untrained critic*: the control; its network has its initial weights.

Across the wall, by horizon (model steps per plan are 64 · H; the full horizon is {FULL}, half of it {HALF}):

| cost | {' | '.join(f'H = {h}' for h in HORIZONS)} |
|---|{'---|' * len(HORIZONS)}
{across}

![Success by horizon](critic.png)

In the same room:

| cost | H = {FULL} |
|---|---|
{same}

Success over all seeds with 95 % Wilson intervals, and the worst seed.

| threshold, fixed before the run | | measured | |
|---|---|---|---|
{lines}

**Interpretation.** The path around the wall is longer than any of these horizons, and along it the distance to the goal
first grows. The critic supplies the cost beyond the horizon: with it one imagined step is enough to choose a direction.
Without it, a saturating energy has no gradient until the goal is within reach. The plain distance does better than
expected: a predictive model arranges its states by their succession, so their distance reflects part of the path. Where
it does not, the dot stops at the wall, and a longer horizon helps. The default agent saturates its intrinsic energy and
leaves the path to the critic.

**Limits.** One small world, with paths of about twenty steps at most; a critic learnt from random experience that covers
both rooms. In larger worlds the critic errs more and horizon is worth more.
"""


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--store", type=Path, default=Path("runs/studies"))
    arguments.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    arguments.add_argument("--pairs", type=int, default=PAIRS)
    given = arguments.parse_args()
    manifest = manifest_of(given.pairs)
    runs = []
    for seed in given.seeds:
        trained = learn(("experiment=mode1",), seed, given.store)
        runs.append({"seed": seed, "learning_seconds": trained.seconds, "costs": judged(seed, trained.weights, manifest)})
        print(f"seed {seed}: " + "; ".join(
            f"{name} {' '.join(f'{100 * rates(runs[-1:], name, h)[0]:.0f}' for h in HORIZONS)} %" for name in COSTS))
    met = verdicts(runs)
    for name, (value, ok) in met.items():
        print(f"{'met   ' if ok else 'MISSED'}  {name:62} {value:8.3f}   (threshold {THRESHOLDS[name]:.3f})")
    if tuple(given.seeds) == SEEDS and given.pairs >= PAIRS:
        record("critic", {"thresholds": THRESHOLDS, "manifest": manifest.hash, "runs": runs,
                          "verdicts": {name: {"value": value, "met": ok} for name, (value, ok) in met.items()}})
        picture(runs, STUDIES / "critic.png")
        page("critic", text(runs, met))
    else:
        print(text(runs, met))
    return 0 if all(ok for _, ok in met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
