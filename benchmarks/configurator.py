"""A configurator that learns from felt energy when to charge, against rules, on the same lives of the house.

    python benchmarks/configurator.py [--seeds 0] [--pairs 100]    # about 25 CPU-minutes per seed

Trains `agent=house` and, with its weights, `configurator=meta_controller`. Controls: the meta-controller untrained; learnt
from what was felt in other episodes (shuffled); random wishes, each kept for a while; the rules of `configurator=drives`.
Writes benchmarks/results/configurator.json. Thresholds were fixed before the first run, and no setting was chosen on these
lives. With --store a trained agent is kept, and found again.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from house import lived
from record import record

import ami
from ami.evaluation.statistics import paired_test
from ami.session.learn import learn
from worlds.house.world import HouseVectorEnv

MANIFEST_SEED = 20270115
THRESHOLDS = {
    "learnt over errand alone, points, at least": 0.20, "learnt over errand alone, p, at most": 0.01,
    "shuffled over errand alone, points, at most": 0.10, "untrained over errand alone, points, at most": 0.10,
}
LEARNT = ["configurator=meta_controller", "learning=lives"]
SHUFFLED = [*LEARNT, "learning.stages.configurator.source.shuffle=[energy,goal]"]
RULES = ("errand", "relief", "threshold", "need")


def of_seed(seed: int, store: str, pairs: int) -> dict[str, Any]:
    """Train one agent and its configurators, and evaluate them on the same lives."""
    common = ["agent=house", "runtime=local", f"seed={seed}", f"store={store}", "evaluation.baselines=[]"]
    base = learn(ami.compose(common)).weights
    learnt = learn(ami.compose([*common, *LEARNT])).weights
    shuffled = learn(ami.compose([*common, *SHUFFLED])).weights
    variants = {"learnt": (LEARNT, learnt), "untrained": (LEARNT, base),
                "random": ([*LEARNT, "configurator.explore=1"], base), "shuffled": (SHUFFLED, shuffled),
                **{rule: ([f"configurator.rule={rule}"], base) for rule in RULES}}
    lives = [pair for pair in HouseVectorEnv(1).sample_pairs(MANIFEST_SEED, pairs) if pair["kind"] == "life"]
    row: dict[str, Any] = {"seed": seed}
    for name, (overrides, weights) in variants.items():
        found = lived(ami.compose([*common, *overrides]), weights, lives)
        row[name] = {"solved": sum(found.success), "of": len(lives), "mode 2": found.share_of_mode_2,
                     "success": found.success}
        print(f"seed {seed}  {name:12} {sum(found.success):3} of {len(lives)}", flush=True)
    return row


def figures_of(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the figure of every threshold, and the test of the learnt configurator against each other one."""
    def over(one: str, other: str) -> float:
        return mean((row[one]["solved"] - row[other]["solved"]) / row[one]["of"] for row in rows)

    others = ("untrained", "random", "shuffled", *RULES)
    p = {other: paired_test([done for row in rows for done in row["learnt"]["success"]],
                            [done for row in rows for done in row[other]["success"]]).p for other in others}
    figures = {
        "learnt over errand alone, points, at least": over("learnt", "errand"),
        "learnt over errand alone, p, at most": p["errand"],
        "shuffled over errand alone, points, at most": over("shuffled", "errand"),
        "untrained over errand alone, points, at most": over("untrained", "errand"),
    }
    return figures, {other: {"points": over("learnt", other), "p": p[other]} for other in others}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--pairs", type=int, default=100, help="lives (default 100)")
    parser.add_argument("--store", help="folder for trained agents (default: a temporary one)")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in given.seeds.split(","):
        with tempfile.TemporaryDirectory() as store:
            rows.append(of_seed(int(seed), given.store or store, given.pairs))
        figures, tests = figures_of(rows)
        met = {name: value >= THRESHOLDS[name] if name.endswith("least") else value <= THRESHOLDS[name]
               for name, value in figures.items()}
        record("configurator", {"thresholds": THRESHOLDS, "figures": figures, "met": met, "learnt over": tests,
                                "rows": rows})
    for name, value in figures.items():
        print(f"{'met   ' if met[name] else 'MISSED'} {name:48} {value:.3g}   (threshold {THRESHOLDS[name]})")
    for other, test in tests.items():
        print(f"learnt over {other:12} {test['points']:+.1%}  p = {test['p']:.2g}")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
