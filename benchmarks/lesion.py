"""The worth of each part and wire of the default agent: lesions after learning, three training seeds, sealed pairs.

    python benchmarks/lesion.py [STORE]        # about forty minutes; resumes a stopped run

Writes benchmarks/results/lesion.json, docs/studies/lesion.md and its picture. The expectations below were fixed before
the run; the script exits with 1 if one is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from record import STUDIES, page, record

import ami
from ami.comparison.table import first_reason, p_value
from ami.evaluation.table import percent
from ami.terminal.console import Console

SEEDS = (0, 1, 2)
PAIRS = 200
MANIFEST_SEED = 20261125
KINDS = ("same_room", "across")
EXPECTED = {
    # (variant, kind): at least, at most
    ("intact", "same_room"): (0.95, 1.0),
    ("intact", "across"): (0.95, 1.0),
    ("without planner", "same_room"): (0.0, 0.05),  # the dot does not move
    ("without actor", "same_room"): (0.0, 0.05),
    ("without perception", "same_room"): (0.0, 0.40),  # no better than random actions
    ("without world.observation → perception.observation", "same_room"): (0.0, 0.40),
    ("without goal", "same_room"): (0.0, 0.40),
    ("perception untrained", "across"): (0.0, 0.40),
    ("world_model untrained", "across"): (0.0, 0.40),
    ("cost untrained", "across"): (0.0, 0.90),
}


def loss(row: dict[str, Any]) -> float:
    """Points of success lost, the mean over both kinds."""
    return 0.0 - 100 * sum(row["kinds"][kind]["test"]["success"]["difference"] for kind in KINDS) / len(KINDS)


def is_significant(row: dict[str, Any]) -> bool:
    return any(row["kinds"][kind]["test"]["success"]["p_holm"] < 0.05 for kind in KINDS)


def listed(labels: list[str]) -> str:
    return ", ".join(f"`{label.removeprefix('without ')}`" for label in labels) or "none"


def cell(figure: dict[str, Any]) -> str:
    test = figure["test"]
    return percent(figure) + (f", {p_value(test['success']['p_holm'])}" if test else "")


def text(rows: dict[str, Any], verdicts: dict[str, Any]) -> str:
    evaluated = {label: row for label, row in rows.items() if "kinds" in row}
    cut = {label: row for label, row in evaluated.items() if label != "intact"}
    lines = [f"| {label} | {cell(row['kinds']['same_room'])} | {cell(row['kinds']['across'])} | "
             f"{'–' if label == 'intact' else f'{loss(row):.1f}'} | {row['model_steps_per_plan']:.0f} |"
             for label, row in evaluated.items()]
    refused = [f"* {label}: {first_reason(row['refused'])}" for label, row in rows.items() if "kinds" not in row]
    below_half = [label for label, row in cut.items() if max(row["kinds"][kind]["success"] for kind in KINDS) < 0.5]
    significant = [label for label, row in cut.items() if is_significant(row) and label not in below_half]
    no_difference = [label for label, row in cut.items() if not is_significant(row)]
    parts = [label for label in no_difference if "→" not in label]
    missed = [name for name, verdict in verdicts.items() if not verdict["met"]]
    missed_words = "; missed: " + ", ".join(missed) if missed else ""
    return f"""# The worth of each part and wire of the default agent

![Success of the agent without each of its parts and wires](lesion.png)

**Method.** The default agent learnt two rooms with three training seeds. Then it ran {PAIRS} sealed pairs of each kind
per seed, intact and without one of its parts or wires: `ami compare --lesion`. There is no further learning. A required
input whose wire is cut receives 0 at every tick, an optional one is left out; the mode stays at "plan", the weights of
the cost at 1. A part without its messages still answers the calls that others need. "Untrained" is a part with its initial
weights. p is McNemar's exact test against the intact agent, pair by pair and seed by seed, corrected for {len(cut)}
lesions (Holm); the intervals are Wilson's, 95 %, over all {len(SEEDS) * PAIRS} episodes of a kind.

| | same room | across the wall | points lost | model steps |
|---|---|---|---|---|
{chr(10).join(lines)}

Points lost: the mean over both kinds. Refused:

{chr(10).join(refused) or '* none'}

**Interpretation.**

* Without any one of these the agent reaches fewer than half of its goals in both kinds: {listed(below_half)}.
* These reduce success significantly (p < 0.05), but not below half in both kinds: {listed(significant)}.
* These make no difference that {len(SEEDS)} × {PAIRS} pairs of each kind can show: {listed(no_difference)}. Parts and terms
  among them: {listed(parts)}. In this task, with this fixed configurator, no action depends on them.

Expectations fixed before the run: {len(verdicts) - len(missed)} of {len(verdicts)} met{missed_words}.

**Limits.** A lesion measures what a part is worth to an agent that learnt with it; an ablation, an agent that learns
without the part, may differ. The lesions are single: two redundant wires both appear to be worth nothing. p counts
episodes, and episodes of one seed are not independent; three seeds are few. It is one world: a part that is worth nothing
in a fully observed world may be essential in another. Zeros are an arbitrary state: a wire that delivers them can do more
harm than a missing one.
"""


def main() -> int:
    store = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/studies")
    overrides = [f"evaluation.pairs={PAIRS}", f"evaluation.manifest_seed={MANIFEST_SEED}", f"store={store}"]
    done = ami.lesion(overrides, seeds=SEEDS, console=Console())
    verdicts: dict[str, Any] = {}
    for (label, kind), (least, most) in EXPECTED.items():
        value = done.rows.get(label, {}).get("kinds", {}).get(kind, {}).get("success")
        verdicts[f"{label}, {kind}"] = {"value": value, "expected": [least, most],
                                        "met": value is not None and least <= value <= most}
    for name, verdict in verdicts.items():
        print(f"{'met   ' if verdict['met'] else 'MISSED'}  {name:60} {verdict['value']}  {verdict['expected']}")
    record("lesion", {"seeds": SEEDS, "pairs": PAIRS, "manifest_seed": MANIFEST_SEED, "verdicts": verdicts,
                      "variants": done.rows})
    STUDIES.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(done.plot, STUDIES / "lesion.png")
    page("lesion", text(done.rows, verdicts))
    return 0 if all(verdict["met"] for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
