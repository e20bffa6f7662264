"""What keeps the states from collapsing, and what happens without it: each method beside `none`, on the same pairs.

    python benchmarks/anti_collapse.py         # about six minutes; writes benchmarks/results/anti_collapse.json

Columns: mean standard deviation of a state's dimensions, effective rank, a ridge probe's R² for the true position on
unseen episodes (and an untrained encoder's), success of the same planner and critic recipe. `none` must collapse.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.console import Console

METHODS = ("vicreg", "sigreg", "ema", "none")
PAIRS, MANIFEST_SEED = 200, 20261123
COLLAPSED_STD = 0.01


def main() -> int:
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as store:
        for method in METHODS:
            config = ami.compose([f"world_model.anti_collapse={method}", f"evaluation.pairs={PAIRS}", "evaluation.film=0",
                                  f"evaluation.manifest_seed={MANIFEST_SEED}", "evaluation.beside=[]", "runtime=local",
                                  f"store={store}"])
            summary = ami.run(config, Path(store) / method, Console()).summary
            rows[method] = {**summary["details"]["probes"]["trained"],
                            "untrained_r2": summary["details"]["probes"]["untrained"]["r2"],
                            "untrained_std": summary["details"]["probes"]["untrained"]["std"],
                            "learning_seconds": summary["learning_seconds"], **summary["agent"]}
    print(f"\n{'':8} {'std':>8} {'rank':>6} {'probe R²':>9} {'untrained':>9} {'same room':>10} {'across':>8} {'learning s':>10}")
    for method, row in rows.items():
        print(f"{method:8} {row['std']:8.4f} {row['effective_rank']:6.1f} {row['r2']:9.4f} {row['untrained_r2']:9.4f} "
              f"{row['same_room']['success']:10.3f} {row['across']['success']:8.3f} {row['learning_seconds']:10.0f}")
    record("anti_collapse", {"rows": rows, "collapsed_below_std": COLLAPSED_STD})
    sound = all((row["std"] < COLLAPSED_STD) == (method == "none") for method, row in rows.items())
    print("none collapses, the others do not" if sound else "UNEXPECTED: see the std column")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
