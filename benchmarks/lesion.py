"""The worth of each part and wire of an agent: lesions after learning, on sealed pairs.

    python benchmarks/lesion.py two_rooms [--store STORE]     # about forty minutes; resumes a stopped run
    python benchmarks/lesion.py house [--seeds 0]             # about half an hour per seed

Writes benchmarks/results/lesion_AGENT.json and docs/studies/lesion_AGENT.md with its two pictures: the successes, and the
graph with the losses of its wires. The expectations below were fixed before the run; the script exits with 1 if one is
missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from record import STUDIES, page, record

import ami
from ami.comparison.table import first_reason, p_value
from ami.config.compose import to_graph
from ami.drawing.description import Description
from ami.drawing.losses import Losses
from ami.drawing.svg import svg
from ami.evaluation.table import percent
from ami.storage.files import write_atomically
from ami.terminal.console import Console

SEEDS = (0, 1, 2)
MANIFEST_SEED = 20261125


@dataclass(frozen=True)
class Study:
    """An agent, the kinds of its episodes with their headings, and what was expected.

    Attributes:
        bounds: the least and the most success, by variant and kind.
        needed: the lesions that lose at least `points` of success with p < .01 in one kind.
    """

    overrides: tuple[str, ...]
    pairs: int
    kinds: dict[str, str]
    where: str
    bounds: dict[tuple[str, str], tuple[float, float]]
    needed: tuple[str, ...] = ()
    points: float = 10.0


STUDIED = {
    "two_rooms": Study((), 200, {"same_room": "same room", "across": "across the wall"}, "The default agent learnt", {
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
    }),
    "house": Study(("agent=house",), 60, {"far": "far errands", "life": "lives"}, "The agent of the house learnt", {
        ("intact", "far"): (0.95, 1.0), ("intact", "life"): (0.80, 1.0),
    }, needed=("without perception", "perception untrained", "without world_model", "world_model untrained",
               "without memory", "without memory.links → level2.links", "without memory.recall → world_model.recall",
               "without memory.wanted → wish.wanted", "without memory.relief → wish.relief", "without goal", "without cost",
               "without cost.battery", "without configurator", "without configurator.wish → wish.wish", "without level2",
               "without planner", "without actor", "actor untrained")),
}


def lost(study: Study, row: dict[str, Any]) -> float:
    """Return the points of success lost, the mean over the kinds."""
    return 0.0 - 100 * sum(row["kinds"][kind]["test"]["success"]["difference"] for kind in study.kinds) / len(study.kinds)


def is_significant(study: Study, row: dict[str, Any]) -> bool:
    return any(row["kinds"][kind]["test"]["success"]["p_holm"] < 0.05 for kind in study.kinds)


def listed(labels: list[str]) -> str:
    return ", ".join(f"`{label.removeprefix('without ')}`" for label in labels) or "none"


def cell(figure: dict[str, Any]) -> str:
    test = figure["test"]
    return percent(figure) + (f", {p_value(test['success']['p_holm'])}" if test else "")


def verdicts_of(study: Study, rows: dict[str, Any]) -> dict[str, Any]:
    """Return each expectation's figure, and whether it is met."""
    found: dict[str, Any] = {}
    for (label, kind), (least, most) in study.bounds.items():
        value = rows.get(label, {}).get("kinds", {}).get(kind, {}).get("success")
        found[f"{label}, {kind}"] = {"value": value, "expected": [least, most],
                                     "met": value is not None and least <= value <= most}
    for label in study.needed:
        tests = [figure["test"]["success"] for figure in rows.get(label, {}).get("kinds", {}).values()]
        most_lost = max((-100 * test["difference"] for test in tests if test["p_holm"] < 0.01), default=None)
        found[f"points lost {label}"] = {"value": most_lost, "expected": [study.points, 100],
                                         "met": most_lost is not None and most_lost >= study.points}
    return found


def text(name: str, study: Study, seeds: Sequence[int], rows: dict[str, Any], verdicts: dict[str, Any]) -> str:
    evaluated = {label: row for label, row in rows.items() if "kinds" in row}
    without = {label: row for label, row in evaluated.items() if label != "intact"}
    lines = [f"| {label} | {' | '.join(cell(row['kinds'][kind]) for kind in study.kinds)} | "
             f"{'–' if label == 'intact' else f'{lost(study, row):.1f}'} | {row['model_steps_per_plan'] or 0:.0f} |"
             for label, row in evaluated.items()]
    refused = [f"* {label}: {first_reason(row['refused'])}" for label, row in rows.items() if "kinds" not in row]
    below_half = [label for label, row in without.items()
                  if max(row["kinds"][kind]["success"] for kind in study.kinds) < 0.5]
    significant = [label for label, row in without.items() if is_significant(study, row) and label not in below_half]
    no_difference = [label for label, row in without.items() if not is_significant(study, row)]
    parts = [label for label in no_difference if "→" not in label]
    missed = [name for name, verdict in verdicts.items() if not verdict["met"]]
    missed_words = "; missed: " + ", ".join(missed) if missed else ""
    refused_words = f" Refused:\n\n{chr(10).join(refused)}" if refused else ""
    return f"""# The worth of each part and wire: {name.replace('_', ' ')}

![The graph; a wire is as thick as the success that is lost without it](lesion_{name}.svg)

![Success of the agent without each of its parts and wires](lesion_{name}.png)

**Method.** {study.where}; training seeds: {', '.join(map(str, seeds))}. Then it ran {study.pairs} sealed pairs of
each kind per seed, intact and without one of its parts or wires: `{' '.join(['ami compare --lesion', *study.overrides])}`.
There is no further learning. A required input whose wire is cut receives 0 at every tick, an optional one is left out;
the mode stays at "plan", the weights of the cost at 1. A part without its messages still answers the calls that others
need. "Untrained" is a part with its initial weights. p is McNemar's exact test against the intact agent, pair by pair and
seed by seed, corrected for {len(without)} lesions (Holm); intervals are Wilson's, 95 %, over the
{len(seeds) * study.pairs} episodes of a kind.

| | {' | '.join(study.kinds.values())} | points lost | model steps |
|---|{'---|' * len(study.kinds)}---|---|
{chr(10).join(lines)}

Points lost: the mean over the kinds; in the graph, the largest of them if p < 0.05.{refused_words}

**Interpretation.**

* Without any one of these the agent reaches fewer than half of its goals in every kind: {listed(below_half)}.
* These reduce success significantly (p < 0.05), but not below half in every kind: {listed(significant)}.
* These make no difference that {len(seeds)} × {study.pairs} pairs of each kind can show: {listed(no_difference)}. Parts and
  terms among them: {listed(parts)}.

Expectations fixed before the run: {len(verdicts) - len(missed)} of {len(verdicts)} met{missed_words}.

**Limits.** A lesion measures what a part is worth to an agent that learnt with it; an ablation, an agent that learns
without the part, may differ. The lesions are single: two redundant wires both appear to be worth nothing. p counts
episodes, and episodes of one seed are not independent; seeds are few. It is one world: a part that is worth nothing
in it may be essential in another. Zeros are an arbitrary state: a wire that delivers them can do more harm than a missing
one.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", nargs="?", choices=list(STUDIED), default="two_rooms")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="training seeds (default 0 1 2)")
    parser.add_argument("--store", default="runs/studies")
    given = parser.parse_args()
    study = STUDIED[given.agent]
    overrides = [*study.overrides, f"evaluation.pairs={study.pairs}", f"evaluation.manifest_seed={MANIFEST_SEED}",
                 f"store={given.store}"]
    done = ami.lesion(overrides, seeds=given.seeds, console=Console())
    verdicts = verdicts_of(study, done.rows)
    for name, verdict in verdicts.items():
        print(f"{'met   ' if verdict['met'] else 'MISSED'}  {name:60} {verdict['value']}  {verdict['expected']}")
    name = f"lesion_{given.agent}"
    record(name, {"seeds": given.seeds, "pairs": study.pairs, "manifest_seed": MANIFEST_SEED, "verdicts": verdicts,
                  "variants": done.rows})
    STUDIES.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(done.plot, STUDIES / f"{name}.png")
    drawn = Description.of(to_graph(ami.compose(list(study.overrides))))
    write_atomically(STUDIES / f"{name}.svg", svg(drawn, Losses.read(done.folder)) + "\n")
    page(name, text(given.agent, study, given.seeds, done.rows, verdicts))
    return 0 if all(verdict["met"] for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
