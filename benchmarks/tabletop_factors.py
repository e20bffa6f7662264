"""What breaks planning on the table top first: each factor of variation unseen alone, for `experiment=ac`.

    python benchmarks/tabletop_factors.py [--seed 0] [--pairs 100] [--kind reach]

One trained agent is evaluated on the same layouts with one factor after another taken from the values that learning
never sees: texture, lighting, colours, clutter, camera; with none and with all of them. Beside the success are the energy's
minimum and the success of following the tokens of true pictures, as in the study of the table top: they tell the encoder's
loss from the predictor's. Writes benchmarks/results/tabletop_factors.json and docs/studies/tabletop_factors.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from record import page, record
from study import evaluate_agent, learn, manifest_of, of_kind
from tabletop import AGENTS, energy_alone, landscape, modules_of

from ami.evaluation.statistics import wilson
from worlds.tabletop.looks import FACTORS

AC = AGENTS["ac"]
PLACES = 100
"""The number of places of an energy's minimum."""


def of_factor(weights: Any, seed: int, unseen: str, kind: str, pairs: int) -> dict[str, Any]:
    """Return the figures with these factors unseen."""
    setting = f"world.unseen={unseen}"
    perception, model = modules_of(AC, weights, seed)
    minimum, *_ = landscape(perception, model, seed, PLACES, unseen)
    result = evaluate_agent([*AC, setting], weights, of_kind(manifest_of(pairs, "world=tabletop", setting), [kind]), seed)
    solved = sum(result.successes())
    return {"unseen": unseen, "minimum": minimum, "alone": energy_alone(perception, model, seed, unseen),
            "solved": solved, "of": pairs, "interval": wilson(solved, pairs)}


def text_of(rows: list[dict[str, Any]], kind: str) -> str:
    method = (__doc__ or "").split("\n\n")[2].replace("\n", " ")
    lines = ["# The table top, one factor of variation at a time", "", method, "",
             f"| unseen | {kind} | energy minimum | true pictures |",
             "|---|---|---|---|"]
    for row in rows:
        low, high = row["interval"]
        lines.append(f"| {row['unseen']} | {row['solved'] / row['of']:.0%} [{low:.0%}, {high:.0%}] | {row['minimum']:.0%} | "
                     f"{row['alone']:.0%} |")
    alone = sorted((row for row in rows if row["unseen"] in FACTORS), key=lambda row: float(row["solved"]))
    least = next(row for row in rows if row["unseen"] == "none")["interval"][0]
    broken = [row["unseen"] for row in alone if row["interval"][1] < least]
    found = (f"What breaks it, worst first: {', '.join(broken)}" if broken else
             "No factor breaks it: the interval of each overlaps that without")
    return "\n".join([*lines, "", f"{found}. Intervals are Wilson's, 95 %."])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--kind", default="reach")
    parser.add_argument("--store", help="keep what was learnt in this folder (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        weights = learn(AC, given.seed, Path(given.store or temporary)).weights
    rows = []
    for unseen in ("none", *FACTORS, "all"):
        rows.append(of_factor(weights, given.seed, unseen, given.kind, given.pairs))
        print("{unseen:9} {solved} of {of}  energy minimum {minimum:.0%}, true pictures {alone:.0%}".format(**rows[-1]),
              flush=True)
    record("tabletop_factors", {"seed": given.seed, "pairs": given.pairs, "kind": given.kind, "rows": rows})
    page("tabletop_factors", text_of(rows, given.kind))
    return 0


if __name__ == "__main__":
    sys.exit(main())
