"""Mode-1 after Mode-2 has been compiled into it, and a configurator that chooses between them.

    python benchmarks/mode1.py [--store runs/studies]

About ten minutes; writes benchmarks/results/mode1.json and docs/studies/mode1.md. One training per seed
(`experiment=mode1`: model, critic, then the policy from the plans of Mode-2). Evaluated on the same pairs: the teacher
(Mode-2 at every tick), the policy alone, and the gate between them; as controls an untrained policy, alone and with the
gate. Also: Mode-2 on a small budget with and without the policy's plan as its first guess.

*Time of a decision* is the time of configurator, planner and actor in one process, from state and goal to action. *Time of
all modules* adds perception, world model, goal, cost and memory, which are the same for every agent.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import matplotlib
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from record import STUDIES, page, record
from study import evaluate_agent, figures, learn, manifest_of, pooled

from ami.evaluation.manifest import Manifest
from ami.runtime.held_modules import Weights

matplotlib.use("agg")
from matplotlib import pyplot as plt

torch.set_num_threads(1)
SEEDS, PAIRS = (0, 1, 2), 200
POLICY = ("experiment=mode1",)
AGENTS: dict[str, tuple[str, ...]] = {
    "teacher": ("configurator.mode=2",),
    "policy": (),
    "gate": ("configurator=surprise_gate", "~configurator.mode"),
    "untrained policy": (),
    "gate, untrained policy": ("configurator=surprise_gate", "~configurator.mode"),
}
DECIDE = ("configurator", "planner", "actor")
ALL_MODULES = (*DECIDE, "perception", "world_model", "goal", "cost", "memory")
TIMED, TIMED_PAIRS, ROUNDS = ("teacher", "policy", "gate"), 20, 5
FROM, ALONE = "from the policy", "alone"
BUDGETS = ((4, 5), (8, 9), (16, 17))
"""Candidates of one iteration with the policy, which costs one more rollout, and without it: equal model steps."""
THRESHOLDS = {
    "policy in the same room, points below its teacher, at most": 5.0,
    "decision of the policy alone, times faster, of 50 worlds": 40.0,
    "decision of the policy alone, times faster, one world": 40.0,
    "gate, share of the teacher's success kept, worst seed and kind": 0.95,
    "gate, share of the teacher's time of a decision, at most": 1 / 3,
    "untrained policy in the same room, at most": 0.4,
}


class Stopwatch:
    """Record the time of each module at each tick, by the number of worlds that planned."""

    def __init__(self) -> None:
        self.ticks: list[dict[str, float]] = []
        self.planned: list[int] = []

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor],
            ages: Sequence[int] = ()) -> None:
        if node == "world":
            self.ticks.append({})
            self.planned.append(0)
        self.ticks[-1][node] = (end - start) / 1e6
        if node == "planner":
            self.planned[-1] = int((outputs["model_steps"] > 0).sum())

    def notes(self, node: str) -> dict[str, Tensor] | None:
        return None

    def publish(self, version: int) -> None:
        pass

    def close(self) -> None:
        pass

    def ms(self, nodes: Sequence[str]) -> float:
        """Milliseconds per tick of some modules: the median over ticks with equally many planning worlds, averaged over
        these groups. Other load on the machine disturbs the mean."""
        groups: dict[int, list[float]] = defaultdict(list)
        for times, planned in zip(self.ticks, self.planned, strict=True):
            groups[planned].append(sum(times[node] for node in nodes))
        return sum(median(group) * len(group) for group in groups.values()) / len(self.ticks)


def without_policy(weights: Weights) -> Weights:
    return {node: state for node, state in weights.items() if node != "actor"}


def judged(seed: int, weights: Weights, manifest: Manifest) -> dict[str, Any]:
    """Evaluate every agent and every budget on the same pairs."""
    agents = {}
    for name, overrides in AGENTS.items():
        own = without_policy(weights) if "untrained" in name else weights
        agents[name] = figures(evaluate_agent([*POLICY, *overrides], own, manifest, seed))
    budgets: dict[str, Any] = {}
    for with_policy, alone in BUDGETS:
        for name, count, more in ((FROM, with_policy, ("graph.planner.calls.policy=actor",)), (ALONE, alone, ())):
            budgets[f"{4 * alone} {name}"] = figures(evaluate_agent(
                [*POLICY, "configurator.mode=2", f"planner.num_candidates={count}", "planner.num_iterations=1",
                 f"planner.num_elites={min(5, count - 1)}", *more], weights, manifest, seed))
    return {"minds": agents, "budgets": budgets}


def timed(seed: int, weights: Weights, batch: int) -> dict[str, dict[str, float]]:
    """Medians over rounds in which the agents alternate, on pairs outside the evaluation."""
    manifest = manifest_of(batch if batch > TIMED_PAIRS else TIMED_PAIRS, "evaluation.manifest_seed=4")
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in TIMED}
    for _ in range(ROUNDS + 1):
        for name in TIMED:
            watch = Stopwatch()
            evaluate_agent([*POLICY, *AGENTS[name]], weights, manifest, seed, batch, watch)
            rounds[name].append((watch.ms(DECIDE) / batch, watch.ms(ALL_MODULES) / batch))
    return {name: {"decision_ms": median(d for d, _ in each[1:]), "mind_ms": median(m for _, m in each[1:]),
                   "decision_ratio": median(t / d for (d, _), (t, _) in zip(each[1:], rounds["teacher"][1:], strict=True)),
                   "mind_ratio": median(t / m for (_, m), (_, t) in zip(each[1:], rounds["teacher"][1:], strict=True))}
            for name, each in rounds.items()}


def verdicts(runs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, bool]]:
    """Return each threshold's figure and whether it is met."""
    def rate(run: Mapping[str, Any], agent: str, kind: str) -> float:
        return float(run["minds"][agent][kind]["success"])

    kinds = ("same_room", "across")
    values = dict(zip(THRESHOLDS, (
        100 * max(rate(run, "teacher", "same_room") - rate(run, "policy", "same_room") for run in runs),
        median(run["50 worlds"]["policy"]["decision_ratio"] for run in runs),
        median(run["one world"]["policy"]["decision_ratio"] for run in runs),
        min(rate(run, "gate", kind) / rate(run, "teacher", kind) for run in runs for kind in kinds),
        1 / median(run["one world"]["gate"]["decision_ratio"] for run in runs),
        max(rate(run, "untrained policy", "same_room") for run in runs)), strict=True))
    return {name: (value, value <= THRESHOLDS[name] if "at most" in name else value >= THRESHOLDS[name])
            for name, value in values.items()}


def picture(runs: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Plot success across the wall against the time of a decision."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, colour in zip(TIMED, ("C0", "C2", "C1"), strict=True):
        time = [run["one world"][name]["decision_ms"] for run in runs]
        success = [100 * run["minds"][name]["across"]["success"] for run in runs]
        axes.scatter(time, success, color=colour, label=name, zorder=3)
    axes.set(xscale="log", xlabel="milliseconds of a decision, one world", ylabel="success across the wall, %",
             ylim=(80, 101))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def text(runs: Sequence[Mapping[str, Any]], met: Mapping[str, tuple[float, bool]]) -> str:
    """The page."""
    def ms(where: str, agent: str, what: str) -> float:
        return median(float(run[where][agent][what]) for run in runs)

    def share(agent: str) -> float:
        return mean(float(run["minds"][agent]["plans"]) / float(run["minds"][agent]["decisions"]) for run in runs)

    successes = "\n".join(
        f"| {name} | {pooled([run['minds'][name] for run in runs], 'same_room')} "
        f"| {pooled([run['minds'][name] for run in runs], 'across')} | {100 * share(name):.0f} % |" for name in AGENTS)
    def cell(where: str, agent: str, what: str) -> str:
        faster = "" if agent == "teacher" else f" ({ms(where, agent, f'{what}_ratio'):.1f}×)"
        return f"{ms(where, agent, f'{what}_ms'):.3f}{faster}"

    times = "\n".join(f"| {name} | " + " | ".join(
        cell(where, name, what) for where in ("one world", "50 worlds") for what in ("decision", "mind")) + " |"
        for name in TIMED)
    budgets = "\n".join(
        f"| {steps} | " + " | ".join(pooled([run["budgets"][f"{steps} {how}"] for run in runs], "across")
                                     for how in (FROM, ALONE)) + " |"
        for steps in (4 * alone for _, alone in BUDGETS))
    lines = "\n".join(f"| {name} | {THRESHOLDS[name]:.3g} | {value:.3g} | {'met' if ok else '**missed**'} |"
                      for name, (value, ok) in met.items())
    def per_cent(agent: str, kind: str = "across") -> str:
        return f"{100 * mean(run['minds'][agent][kind]['success'] for run in runs):.0f} %"

    return f"""
# Mode-1, compiled from Mode-2

**Question.** In the paper Mode-2 plans, its results are compiled into a reactive policy (Mode-1), and a configurator
decides when to plan (sections 3.1.3 and 6). How much of Mode-2's success is kept, and at what time per decision?

**Method.** Per training seed ({len(runs)}), `experiment=mode1`: the default model and critic, then a policy π(state,
goal) of three linear layers. The policy is regressed on the first action of plans: of a *teacher* that plans at every
tick and, in the second half, of an *apprentice* that acts by the policy in half of its ticks while the planner labels
each state (DAgger). {PAIRS} sealed pairs of each kind per seed, the same for all. The *gate*
(`configurator=surprise_gate`) plans at an episode's first tick, at high surprise and when energy does not fall. The
*untrained* policy has its initial weights.

| agent | same room | across the wall | ticks planned |
|---|---|---|---|
{successes}

Success over all seeds with 95 % Wilson intervals, and the worst seed.

| agent | decision, 1 world | all modules, 1 world | decision, of 50 worlds | all modules, of 50 worlds |
|---|---|---|---|---|
{times}

Milliseconds per decision, and the speed-up over the teacher; medians of {ROUNDS} rounds in which the agents alternate in
one process, over {len(runs)} seeds. A *decision* is the time of configurator, planner and actor, from state and goal to
action. *All modules* adds perception, world model, goal, cost and memory, which are the same for every agent and reduce
the speed-up. For a single world the policy's time is the overhead of a dozen small operations, not arithmetic; 50 worlds
share it.

![Success and time](mode1.png)

Mode-2 on a small budget, one iteration of CEM that starts from the policy's plan or without it; across the wall:

| model steps per plan | from the policy | alone |
|---|---|---|
{budgets}

| threshold, fixed before the run | | measured | |
|---|---|---|---|
{lines}

**Interpretation.** In this world planning can be compiled into a policy almost without loss: one percept shows the full
state, and the best action is a smooth function of state and goal. The gate plans in {100 * share('gate'):.0f} % of the
ticks, mostly at an episode's first. With the *untrained* policy it plans in {100 * share('gate, untrained policy'):.0f} %
and raises success across the wall from {per_cent('untrained policy')} to {per_cent('gate, untrained policy')}: when energy
no longer falls it plans for two ticks, then returns to a policy that undoes them. A gate saves time if the policy is good;
it does not replace a policy.

**Limits.** One small world with a fixed door. The policy is tested in its training world: goals and starts are new, the
rooms are not. Times are from one machine with other load, hence the medians and the ratios within rounds.
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
        trained = learn(POLICY, seed, given.store)
        run = {"seed": seed, "learning_seconds": trained.seconds, **judged(seed, trained.weights, manifest),
               "one world": timed(seed, trained.weights, 1), "50 worlds": timed(seed, trained.weights, 50)}
        runs.append(run)
        print(f"seed {seed}: " + ", ".join(f"{name} {100 * run['minds'][name]['same_room']['success']:.1f} / "
                                           f"{100 * run['minds'][name]['across']['success']:.1f} %" for name in AGENTS))
    met = verdicts(runs)
    for name, (value, ok) in met.items():
        print(f"{'met   ' if ok else 'MISSED'}  {name:62} {value:8.3f}   (threshold {THRESHOLDS[name]:.3f})")
    if tuple(given.seeds) == SEEDS and given.pairs >= PAIRS:
        record("mode1", {"thresholds": THRESHOLDS, "manifest": manifest.hash, "runs": runs,
                         "verdicts": {name: {"value": value, "met": ok} for name, (value, ok) in met.items()}})
        picture(runs, STUDIES / "mode1.png")
        page("mode1", text(runs, met))
    else:
        print(text(runs, met))
    return 0 if all(ok for _, ok in met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
