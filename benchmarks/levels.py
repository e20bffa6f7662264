"""PointMaze_Large: one level against two learnt levels, after H-JEPA and after HWM, on the same sealed pairs.

    python benchmarks/levels.py [--seeds 0] [--pairs 200] [--controls 100] [--store runs/studies]

Trains level 1 once per seed and each level 2 on the same experience, and evaluates all of them with the same weights of
level 1. Writes benchmarks/results/levels.json and docs/studies/levels.md. The thresholds below were fixed before the
measured run, whose manifest seed was not used for tuning. The script exits with 1 if one is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import page, record

import ami
from ami.agent import Agent
from ami.config.compose import Config, compose_baseline, to_graph
from ami.evaluation.evaluate import evaluate, evaluation_ports
from ami.evaluation.outcomes import Evaluation
from ami.evaluation.statistics import paired_test, wilson
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime
from ami.session.evaluation import seal
from ami.session.learn import learn

torch.set_num_threads(1)
MANIFEST_SEED, BATCH, SIGNIFICANT = 20261201, 200, 0.01
LEVELS, FLAT = ("hjepa", "hwm"), ("flat", "flat by distance")
PATH = "cost.objective=paper_sum"


class Variant(NamedTuple):
    """One row: its number of levels, its overrides, and whether level 2 has its initial weights."""

    depth: int
    overrides: tuple[str, ...] = ()
    untrained: bool = False
    control: bool = False


VARIANTS = {
    "hjepa": Variant(2, ("agent=hjepa",)),
    "hwm": Variant(2, ("agent=hwm",)),
    "flat": Variant(1),
    "flat by distance": Variant(1, ("cost=goal_distance",)),
    "flat, critic along the path": Variant(1, (PATH,), control=True),
    "flat, as many model steps": Variant(1, ("planner.num_candidates=115",), control=True),
    "hjepa, level 2 untrained": Variant(2, ("agent=hjepa",), untrained=True, control=True),
    "hwm, level 2 untrained": Variant(2, ("agent=hwm",), untrained=True, control=True),
    "random": Variant(0, control=True),
}
"""`flat` plans with the distance, saturated, and the critic, as level 1 of the others does; a control runs fewer pairs."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--controls", type=int, default=100, help="pairs of a control, the first ones (default 100)")
    parser.add_argument("--store", default="runs/studies", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in given.seeds:
        rows.append(of_seed(seed, given))
        verdicts = verdicts_of(rows)
        record("levels", {"seeds": given.seeds[:len(rows)], "pairs": given.pairs, "controls": given.controls,
                          "manifest_seed": MANIFEST_SEED, "significant": SIGNIFICANT, "verdicts": verdicts, "rows": rows})
        page("levels", text(rows, verdicts))
    return 0 if all(verdicts.values()) else 1


def of_seed(seed: int, given: Any) -> dict[str, Any]:
    """Train one level and both level 2 of a seed, and evaluate every variant."""
    common = ["experiment=pointmaze_large", "runtime=local", f"seed={seed}", f"store={given.store}",
              f"evaluation.manifest_seed={MANIFEST_SEED}"]
    row: dict[str, Any] = {"seed": seed, "learning_cpu_seconds": {}, "figures": {}}
    trained: dict[str, Weights] = {}
    for name in ("flat", *LEVELS):
        before = time.process_time()
        critic = [] if name == "flat" else ["~learning.stages.critic"]  # that of the flat agent serves all
        learnt = learn(ami.compose([*common, *VARIANTS[name].overrides, *critic]))
        trained[name] = learnt.weights
        row["learning_cpu_seconds"][name] = None if learnt.cached else time.process_time() - before
        row["figures"][name] = {key: value for line in learnt.rows for key, value in line.items()
                                if line["stage"] == "level2"}
        print(f"seed {seed}  {name} learnt in {time.process_time() - before:.0f} CPU-s", flush=True)
    for name, variant in VARIANTS.items():
        config = ami.compose([*common, f"evaluation.pairs={given.controls if variant.control else given.pairs}",
                              *variant.overrides])
        kept = trained[name.split(",")[0]] if variant.depth == 2 else {}
        level2 = {node: one for node, one in kept.items() if node not in trained["flat"] and not variant.untrained}
        found = evaluated(config if variant.depth else compose_baseline(config, "random"), {**trained["flat"], **level2})
        solved = found.successes()
        steps = [outcome.steps for outcome in found.outcomes if outcome.success]
        row[name] = {"depth": variant.depth, "solved": sum(solved), "of": len(solved), "success": solved,
                     "ticks": fmean(steps) if steps else None, "model_steps": found.model_steps_per_plan,
                     "ms_per_decision": found.ms_per_decision}
        print(f"seed {seed}  {name:28} {sum(solved):3} of {len(solved)}", flush=True)
    row["tests"] = {f"{one} above {other}": paired_test(
        row[one]["success"][:row[other]["of"]], row[other]["success"])._asdict()
        for one in LEVELS for other in VARIANTS if other not in LEVELS}
    return row


def evaluated(config: Config, weights: Weights) -> Evaluation:
    """Evaluate with those of the weights that the config's nodes have."""
    graph = to_graph(config)
    held = {node: state for node, state in weights.items() if node in graph.order and fits(config, node)}
    with Agent(LocalRuntime(graph, config.settings.seed, held, watch=evaluation_ports(graph))) as agent:
        return evaluate([agent], seal(config, graph), BATCH)


def fits(config: Config, node: str) -> bool:
    """Return whether a node has the weights of the flat agent: a cost without its critic has none."""
    return node != "cost" or "critics" in config.plain()["cost"]


def verdicts_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Return whether each threshold is met, in every seed."""
    verdicts = {f"{one} above {other}, p < {SIGNIFICANT}, every seed": all(
        row[one]["solved"] / row[one]["of"] > row[other]["solved"] / row[other]["of"]
        and row["tests"][f"{one} above {other}"]["p"] < SIGNIFICANT for row in rows) for one in LEVELS for other in FLAT}
    untrained = {f"{one} above itself with level 2 untrained, p < {SIGNIFICANT}, every seed": all(
        sum(row[one]["success"][:row[f"{one}, level 2 untrained"]["of"]]) > row[f"{one}, level 2 untrained"]["solved"]
        and row["tests"][f"{one} above {one}, level 2 untrained"]["p"] < SIGNIFICANT for row in rows) for one in LEVELS}
    return verdicts | untrained


def text(rows: Sequence[Mapping[str, Any]], verdicts: Mapping[str, bool]) -> str:
    """The page."""
    lines = []
    for name, variant in VARIANTS.items():
        solved, of = (sum(row[name][key] for row in rows) for key in ("solved", "of"))
        low, high = wilson(solved, of)
        ps = [None if name in LEVELS else max(row["tests"][f"{one} above {name}"]["p"] for row in rows) for one in LEVELS]
        lines.append(f"| {name} | {variant.depth or '–'} | {solved} of {of} "
                     f"| {solved / of:.0%} [{low:.0%}, {high:.0%}] | {fmean(row[name]['model_steps'] for row in rows):,.0f} "
                     f"| {' | '.join('–' if p is None else f'{p:.1g}' for p in ps)} |")
    met = "\n".join(f"* {what}: {'met' if one else '**missed**'}" for what, one in verdicts.items())
    return f"""# Two learnt levels

**Question.** Does a second, learnt level of planning reach goals that one level does not?

**Method.** `{Path(sys.argv[0]).name}` trains `experiment=pointmaze_large`: a ball with momentum in a maze whose goals are up
to 19 cells away, seen as four numbers, from 1,000 walks at full speed. Level 1 plans 8 ticks ahead. `agent=hjepa` and
`agent=hwm` add a level that plans every 8 ticks over macro-actions of 8 ticks, and sets the state for level 1 to reach.
Every row has the same weights of level 1 and of its critic; level 2 learns from the same walks. A macro-action is a latent
code of 8 actions, near a standard normal, which the planner samples; what comes of it is learnt.

* *hjepa*: level 2 has a state of its own, slow features of that of level 1 (VICReg at a stride of 8 ticks). Its cost is the
  Euclidean distance there, without a critic. A decoder turns its action into the target of level 1.
* *hwm*: level 2 imagines states of level 1, and uses the cost and critic of level 1. Its first imagined state is the
  target.
* *flat*: level 1 alone, distance and critic; *by distance*: without the critic; *critic along the path*: hwm's
  objective; *as many model steps*: as hjepa, by more candidates (added after the run, without a threshold).
* *untrained*: level 2 with its initial weights, the negative control. *random*: random actions.

Pairs are sealed (manifest seed {MANIFEST_SEED}), controls run the first ones. p is McNemar's exact test on the common
pairs, the worst of {len(rows)} seed{'s' * (len(rows) > 1)}. Intervals are 95 %, of all seeds together.

| agent | levels | solved | rate | model steps a decision | p of hjepa | p of hwm |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}

**Thresholds**, fixed before the run:

{met}

**What is learnt.** The macro-actions and what comes of them, the slow state, the targets. Not learnt: the number of ticks
of a step, and when to plan. The slow state knows the ways: walking greedily, up to four cells at once, by its distance
reaches 98 % of all pairs of cells, by that of the critic 88 %, by the Euclidean one 88 % (seed 0).

**What failed first**, on seed 0 and other pairs. A macro-action that is read from the states around it never fails in
experience, so level 2 does not know that it may:

| attempt | solved |
|---|---|
| hjepa, macro-action read from the states before and after a step: targets behind walls | 52 of 80 |
| the same, weight of the divergence .05 in place of .01, and an energy of the macro-action | 22 of 40 |
| hjepa, planning every 4 ticks (of the first kind) | 25 of 50 |
| **hjepa, macro-action read from the actions alone** | 32 of 40 |
| hwm, Euclidean distance summed over the plan, 10 steps | 20 of 50 |
| hwm, critic of the last imagined state, 10 steps: it may arrive later, so it never hurries | 15 of 40 |
| the same, 4 steps | 23 of 40 |
| **hwm, critic along the path, 6 steps** | 26 of 40 |

**Limits.** Figures of one training seed hold for other pairs, not for other trainings. hjepa is ahead of one level that
spends as many model steps, on few pairs (see its p); hwm is not. The maze is one and the same, and seen as four numbers. A
third level was not tried."""


if __name__ == "__main__":
    sys.exit(main())
