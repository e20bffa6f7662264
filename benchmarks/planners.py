"""Planners at equal model steps, on small budgets: two rooms, one trained agent per seed.

    python benchmarks/planners.py [STORE]      # about fifteen CPU-minutes; resumes a stopped run

Every planner has the default horizon and plans at every step in the same trained agents, on the same sealed pairs. Writes
benchmarks/results/planners.json, docs/studies/planners.md and its picture. The thresholds below were fixed before the run;
the script exits with 1 if one is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import matplotlib
import torch
from record import STUDIES, page, record
from study import SEED, evaluate_agent, learn, manifest_of

from ami.evaluation.manifest import Manifest
from ami.evaluation.outcomes import Evaluation
from ami.evaluation.statistics import paired_test, wilson
from ami.storage.files import write_json

SEEDS, PAIRS, BATCH, HORIZON = (0, 1, 2), 200, 200, 4
BUDGETS = (16, 32, 64, 128, 256, 512)
DEADLINE = 20
"""Steps: an episode has 60, within which almost every search succeeds. Few paths across the wall need more than 20."""
KINDS = ("same_room", "across")
Points = dict[tuple[str, int], list[dict[str, Any]]]
"""By planner and budget: a record per seed."""
THRESHOLDS = {
    "every planner, 256 model steps, across, worst seed": 0.95,
    "every planner but random_shooting, 128 model steps, across within 20 steps, mean": 0.80,
    "cem minus random_shooting, every budget from 64, across within 20 steps, least": 0.0,
    "icem minus cem, budgets 16 and 32, across within 20 steps, mean": 0.0,
    "untrained with cem, 256 model steps, across, mean, at most": 0.15,
}


def elites(candidates: int) -> int:
    """CEM's default, 5 of 32, for other numbers of candidates."""
    return max(2, round(candidates * 5 / 32))


def icem_of(rollouts: int) -> tuple[int, int, int]:
    """K, iterations and model steps of the largest iCEM that two populations leave within the budget."""
    from modules.planner.icem import ICEM

    if rollouts < 8:
        return rollouts, 1, rollouts * HORIZON
    fits = [k for k in range(4, rollouts)
            if sum(ICEM(HORIZON, k, 2, elites(k)).populations) <= rollouts]
    return fits[-1], 2, sum(ICEM(HORIZON, fits[-1], 2, elites(fits[-1])).populations) * HORIZON


def settings(planner: str, budget: int) -> tuple[list[str], int]:
    """Return a planner's settings within a budget of model steps, and the model steps that it reports."""
    rollouts = budget // HORIZON
    iterations = 1 if rollouts < 8 else 2
    candidates = rollouts // iterations
    if planner == "random_shooting":
        return [f"planner.num_candidates={rollouts}"], budget
    if planner == "gradient":
        # one candidate descends from the last plan; a backward pass counts as a forward pass
        descents, downhill = {4: (1, 1), 8: (1, 3), 16: (1, 7), 32: (2, 7), 64: (4, 7), 128: (8, 7)}[rollouts]
        return ([f"planner.num_candidates={descents}", f"planner.num_iterations={downhill}"],
                descents * (downhill + 1) * HORIZON)
    chosen = [f"planner.num_iterations={iterations}"]
    if planner == "mppi":
        return [*chosen, f"planner.num_candidates={candidates}"], budget
    if planner == "icem":
        candidates, iterations, counted = icem_of(rollouts)
        return [f"planner.num_iterations={iterations}", f"planner.num_candidates={candidates}",
                f"planner.num_elites={elites(candidates)}"], counted
    return [*chosen, f"planner.num_candidates={candidates}", f"planner.num_elites={elites(candidates)}"], budget


PLANNERS = ("random_shooting", "cem", "icem", "mppi", "gradient")


def judged(planner: str, budget: int, weights: Any, manifest: Manifest, seed: int) -> dict[str, Any]:
    """Evaluate one planner with one budget in one agent: by pair, the steps to the goal, or None if not solved."""
    overrides, counted = settings(planner, budget)
    begun = time.process_time()
    agent = [f"planner={planner}", f"planner.horizon={HORIZON}", *overrides]
    evaluation: Evaluation = evaluate_agent(agent, weights, manifest, seed, BATCH)
    seconds = time.process_time() - begun
    assert evaluation.model_steps == counted * evaluation.plans, (planner, budget, evaluation.model_steps_per_plan)
    return {"planner": planner, "budget": budget, "seed": seed, "settings": overrides,
            "model_steps": evaluation.model_steps_per_plan, "cpu_ms_per_decision": 1000 * seconds / evaluation.decisions,
            "arrived": {kind: [o.steps if o.success else None for o in evaluation.outcomes if o.kind == kind]
                        for kind in KINDS}}


def found_or_judged(file: Path, *what: Any) -> dict[str, Any]:
    """Return the stored record, or evaluate and store a new one."""
    if not file.exists():
        write_json(file, judged(*what))
    kept: dict[str, Any] = json.loads(file.read_text())
    print(f"seed {kept['seed']}  {kept['planner']:16} {kept['budget']:4}  " + "  ".join(
        f"{kind} {rate([kept], kind):.3f}, within {DEADLINE}: {rate([kept], kind, DEADLINE):.3f}" for kind in KINDS)
        + f"  {kept['cpu_ms_per_decision']:.2f} ms", flush=True)
    return kept


def arrivals(runs: list[dict[str, Any]], kind: str, within: int | None = None) -> list[bool]:
    """Return whether each pair of each seed was solved within a number of steps."""
    return [steps is not None and (within is None or steps <= within) for run in runs for steps in run["arrived"][kind]]


def rate(runs: list[dict[str, Any]], kind: str, within: int | None = None) -> float:
    return mean(arrivals(runs, kind, within))


def verdicts_of(points: Points, untrained: list[dict[str, Any]]) -> dict[str, Any]:
    """Return each threshold's figure and whether it is met."""
    fast = {key: rate(runs, "across", DEADLINE) for key, runs in points.items()}
    values = (
        min(rate([run], "across") for (_, budget), runs in points.items() if budget == 256 for run in runs),
        min(fast[p, 128] for p in PLANNERS if p != "random_shooting"),
        min(fast["cem", b] - fast["random_shooting", b] for b in BUDGETS if b >= 64),
        mean(fast["icem", b] - fast["cem", b] for b in (16, 32)),
        rate(untrained, "across"),
    )
    return {name: {"value": value, "threshold": limit, "met": value <= limit if "at most" in name else value >= limit}
            for (name, limit), value in zip(THRESHOLDS.items(), values, strict=True)}


def picture(points: Points, path: Path) -> None:
    """Plot success across the wall and steps to the goal against the budget."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (all_of_them, soon, steps) = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for planner in PLANNERS:
        runs = [points[planner, budget] for budget in BUDGETS]
        for axes, within in ((all_of_them, None), (soon, DEADLINE)):
            rates = [100 * rate(r, "across", within) for r in runs]
            ends = [wilson(sum(arrivals(r, "across", within)), len(arrivals(r, "across", within))) for r in runs]
            axes.plot(BUDGETS, rates, marker="o", markersize=3, label=planner)
            axes.fill_between(BUDGETS, [100 * low for low, _ in ends], [100 * high for _, high in ends], alpha=0.2)
        steps.plot(BUDGETS, [mean_steps(r) for r in runs], marker="o", markersize=3, label=planner)
    for axes, title in ((all_of_them, "across the wall, % solved in 60 steps"),
                        (soon, f"across the wall, % solved in {DEADLINE} steps"),
                        (steps, "steps to arrive across the wall")):
        axes.set(title=title, xscale="log", xlabel="model steps per plan", xticks=BUDGETS, xticklabels=BUDGETS)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    steps.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def mean_steps(runs: list[dict[str, Any]]) -> float:
    """Return the mean steps of the solved pairs."""
    arrived = [steps for run in runs for steps in run["arrived"]["across"] if steps is not None]
    return mean(arrived) if arrived else float("nan")


def share(hits: list[bool]) -> str:
    low, high = wilson(sum(hits), len(hits))
    return f"{100 * mean(hits):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def table(points: Points, within: int | None) -> str:
    head = f"| model steps | {' | '.join(PLANNERS)} |\n|---|{'---|' * len(PLANNERS)}"
    return "\n".join([head, *(f"| {budget} | " + " | ".join(share(arrivals(points[p, budget], "across", within))
                                                          for p in PLANNERS) + " |" for budget in BUDGETS)])


def versus(points: Points, first: str, second: str, budget: int) -> str:
    """Return a paired comparison as text, over all seeds' pairs."""
    one, other = (arrivals(points[planner, budget], "across", DEADLINE) for planner in (first, second))
    return f"{100 * (mean(one) - mean(other)):+.1f} points, p = {paired_test(one, other).p:.2g}"


def listed(points: Points, first: str, second: str, budgets: tuple[int, ...]) -> str:
    return "; ".join(f"at {budget} model steps {versus(points, first, second, budget)}" for budget in budgets)


def text(points: Points, untrained: list[dict[str, Any]], verdicts: dict[str, Any],
         learnt_in: list[float]) -> str:
    same = min(rate(runs, "same_room") for runs in points.values())
    costs = "\n".join(f"| {budget} | " + " | ".join(f"{mean(r['cpu_ms_per_decision'] for r in points[p, budget]):.2f}"
                                                     for p in PLANNERS) + " |" for budget in BUDGETS)
    lengths = "\n".join(f"| {budget} | " + " | ".join(f"{mean_steps(points[p, budget]):.1f}" for p in PLANNERS) + " |"
                        for budget in BUDGETS)
    head = f"| model steps | {' | '.join(PLANNERS)} |\n|---|{'---|' * len(PLANNERS)}"
    judged_words = "\n".join(f"* {name}: {v['value']:.3f}, threshold {v['threshold']}, {'met' if v['met'] else 'missed'}"
                             for name, v in verdicts.items())
    n = len(SEEDS) * PAIRS
    seeds = ", ".join(map(str, SEEDS))
    return f"""# Planners at equal model steps

![Success and steps against model steps per plan](planners.png)

**Method.** The default agent learnt two rooms with the training seeds {seeds} ({min(learnt_in):.0f} to
{max(learnt_in):.0f} s each). Then the same agents planned with each planner at each budget on the same {PAIRS} sealed
pairs of each kind: {n} episodes per figure. A plan has {HORIZON} actions, only the first is executed, and every planner
starts from its last plan. The budget is the number of predicted model steps per plan:

* `random_shooting`: budget / {HORIZON} candidates; `cem` and `mppi`: half of them in each of two iterations (one at 16);
  `icem`: the largest two populations that fit, which may leave a few steps unused.
* `gradient`: a backward pass counts as a forward pass. With c candidates and i gradient steps it predicts c · (i + 1) ·
  {HORIZON} steps forwards and c · i · {HORIZON} backwards: 12 of 16, 28 of 32, 60 of 64, and so on. A gradient with
  respect to the actions takes one matrix product per layer, like the prediction; weights receive none. Its time is below.

Intervals are Wilson's, 95 %, over all seeds' pairs. In the same room every planner at every budget solves {100 * same:.1f} %
or more, so the tables show the pairs across the wall.

Solved across the wall, per cent, in the 60 steps of an episode:

{table(points, None)}

Solved across the wall within {DEADLINE} steps, per cent:

{table(points, DEADLINE)}

Steps to the goal across the wall, of solved pairs:

{head}
{lengths}

CPU-milliseconds per decision of the whole agent, {BATCH} worlds side by side:

{head}
{costs}

Negative control: untrained agents with `cem` at 256 model steps solve {share(arrivals(untrained, 'across'))} %
across the wall and {share(arrivals(untrained, 'same_room'))} % in the same room.

**Interpretation.** Across the wall within {DEADLINE} steps, pair by pair (McNemar's exact test):

* `cem` against `random_shooting`, refined candidates against more candidates:
  {listed(points, 'cem', 'random_shooting', (16, 64, 256))}.
* `icem` against `cem`: {listed(points, 'icem', 'cem', (16, 32, 64, 256))}.
* `mppi` against `cem`: {listed(points, 'mppi', 'cem', (16, 32, 64, 256))}.
* `gradient` against `cem`: {listed(points, 'gradient', 'cem', (16, 32, 64, 256))}.

Thresholds fixed before the run:

{judged_words}

**Limits.** Actions are two numbers and a plan has {HORIZON} of them: a search over 8 numbers, with a smooth critic that
has learnt the path around the wall. This favours gradients and needs little search. p counts episodes, and episodes of
one seed are not independent; p is not corrected for the number of comparisons. Settings other than the numbers of
candidates, iterations and elites are each planner's defaults, tried on another training seed and other pairs. Planners
for discrete actions, `categorical` and `tree`, do not apply here.
"""


def main() -> int:
    store = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/studies")
    torch.set_num_threads(1)
    manifest = manifest_of(PAIRS)
    points: Points = {(p, b): [] for p in PLANNERS for b in BUDGETS}
    untrained, learnt_in = [], []
    for seed in SEEDS:
        trained = learn([], seed, store)
        learnt_in.append(trained.seconds)
        folder = store / "planners" / f"{trained.key}-{manifest.hash[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        for planner, budget in points:
            points[planner, budget].append(found_or_judged(folder / f"{planner}-{budget}.json", planner, budget,
                                                           trained.weights, manifest, seed))
        untrained.append(found_or_judged(folder / "untrained.json", "cem", 256, {}, manifest, seed))
    verdicts = verdicts_of(points, untrained)
    for name, verdict in verdicts.items():
        print(f"{'met   ' if verdict['met'] else 'MISSED'}  {name:80} {verdict['value']:.3f}  ({verdict['threshold']})")
    figures = {f"{planner} {budget}": {
        "settings": runs[0]["settings"], "model_steps": runs[0]["model_steps"],
        "cpu_ms_per_decision": mean(r["cpu_ms_per_decision"] for r in runs), "steps_across": mean_steps(runs),
        **{kind: {"by_seed": [rate([run], kind) for run in runs], "success": rate(runs, kind),
                  f"within_{DEADLINE}": rate(runs, kind, DEADLINE)} for kind in KINDS}}
        for (planner, budget), runs in points.items()}
    record("planners", {"seeds": SEEDS, "pairs": PAIRS, "manifest_seed": SEED, "manifest_hash": manifest.hash,
                        "learning_seconds": learnt_in, "thresholds": THRESHOLDS, "verdicts": verdicts, "points": figures,
                        "untrained cem 256": {kind: rate(untrained, kind) for kind in KINDS}})
    picture(points, STUDIES / "planners.png")
    page("planners", text(points, untrained, verdicts, learnt_in))
    return 0 if all(verdict["met"] for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
