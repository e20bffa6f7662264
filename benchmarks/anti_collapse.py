"""Anti-collapse methods against `none`, on the same pairs.

    python benchmarks/anti_collapse.py         # about fifteen minutes; writes benchmarks/results/anti_collapse.json

Columns: mean standard deviation of a state's dimensions, effective rank, a ridge probe's R² for the true position on
unseen episodes (and an untrained encoder's), success of the same planner and critic recipe. `none` must collapse.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.terminal.console import Console

METHODS, SEEDS = ("vicreg", "sigreg", "ema", "none"), (0, 1, 2)
PAIRS, MANIFEST_SEED = 200, 20261123
COLLAPSED_STD = 0.01
KEEPS_ACROSS, LOSES_ACROSS = 0.9, 0.3
"""Success across the wall: the lower bound of a method in its worst seed, and the upper bound of `none` in its best."""


def figures_of(method: str, seed: int, store: Path) -> dict[str, Any]:
    """Return the figures of one training and its evaluation."""
    config = ami.compose([f"world_model.anti_collapse={method}", f"seed={seed}", f"evaluation.pairs={PAIRS}",
                          f"evaluation.manifest_seed={MANIFEST_SEED}", "evaluation.baselines=[]", "evaluation.video=0",
                          "runtime=local", f"store={store}"])
    summary = ami.run(config, store / f"{method}-{seed}", Console()).summary
    probes = summary["details"]["probes"]
    return {**probes["trained"], **{f"untrained_{name}": value for name, value in probes["untrained"].items()},
            "same_room": summary["agent"]["same_room"]["success"], "across": summary["agent"]["across"]["success"],
            "learning_seconds": summary["learning_seconds"]}


def main() -> int:
    with tempfile.TemporaryDirectory() as store:
        runs = {method: [figures_of(method, seed, Path(store)) for seed in SEEDS] for method in METHODS}
    shown = ("std", "effective_rank", "r2", "untrained_r2", "same_room", "across", "learning_seconds")
    print(f"\nmean of seeds {SEEDS} (worst)\n{'':8}" + "".join(f"{name:>22}" for name in shown))
    for method, rows in runs.items():
        cells = [f"{mean(r[name] for r in rows):.4f} ({min(r[name] for r in rows):.4f})" for name in shown]
        print(f"{method:8}" + "".join(f"{cell:>22}" for cell in cells))
    verdicts = {method: all(row["std"] < COLLAPSED_STD and row["across"] <= LOSES_ACROSS for row in rows) if method == "none"
                else all(row["std"] > COLLAPSED_STD and row["across"] >= KEEPS_ACROSS for row in rows)
                for method, rows in runs.items()}
    for method, met in verdicts.items():
        claim = "collapses" if method == "none" else "keeps states apart"
        print(f"{'as expected' if met else 'UNEXPECTED '}  {method} {claim}")
    record("anti_collapse", {"thresholds": {"collapsed_std": COLLAPSED_STD, "keeps_across": KEEPS_ACROSS,
                                            "loses_across": LOSES_ACROSS}, "verdicts": verdicts, "runs": runs})
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
