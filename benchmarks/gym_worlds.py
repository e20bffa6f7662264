"""Six gymnasium worlds: does the mind learn them, and where does it stand beside chance and beside published figures?

    python benchmarks/gym_worlds.py [WORLD ...] [--store runs/studies]

Writes benchmarks/results/gym_worlds.json and docs/studies/gym_worlds.md after every world; a world that is not named keeps
the figures of an earlier run. Five minutes per world and seed at most; trained minds are found again in the store. Minds of
three training seeds live the same 200 sealed episodes as random actions and as a mind before it has learnt.

The thresholds stand here, fixed before the measured run on a manifest seed that was not used while tuning. The script exits
with 1 when one is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import RESULTS, page, record

import ami
from ami.agent import Agent
from ami.config.compose import compose_baseline, to_graph
from ami.errors import suggestion
from ami.evaluation.evaluate import MODEL_STEPS, Evaluation, evaluate
from ami.evaluation.manifest import Manifest
from ami.evaluation.statistics import mean_interval
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.runtime.worker import Weights, build_module
from ami.session.run import seal
from ami.session.train import train

torch.set_num_threads(1)
SEEDS, PAIRS, MANIFEST_SEED, BATCH = (0, 1, 2), 200, 20261125, 200
SIGNIFICANT = 0.001
LEARNING_SECONDS = 300.0
ZOO = "[RL Zoo](https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/benchmark.md)"
COLUMNS = ("world", "random", "untrained", "mean of seeds", "worst seed", "p, at most", "published", "steps lived",
           "minutes (CPU), at most", "world steps/s")
SPEED_ROWS, SPEED_SECONDS = 50, 2.0


class World(NamedTuple):
    """What is expected of one world: the least mean return, the least of any seed, and what others have published."""

    name: str
    mean: float
    worst: float
    published: str


WORLDS = {
    "cartpole": World("CartPole-v1", 450.0, 350.0, f"500 (DQN, 50k steps; PPO, 100k; {ZOO})"),
    "pendulum": World("Pendulum-v1", -200.0, -250.0, f"-157 (SAC, 20k steps), -172 (PPO, 100k; {ZOO})"),
    "acrobot": World("Acrobot-v1", -150.0, -250.0, f"-77 (DQN, 100k steps), -74 (PPO, 1M; {ZOO})"),
    "lunarlander": World("LunarLander-v3", 0.0, -50.0, f"154 (DQN, 100k steps), 242 (PPO, 1M; {ZOO}, v2); solved at 200"),
    "doorkey": World("MiniGrid-DoorKey-6x6-v0", 0.8, 0.6, "none found for this size; the most is 1 less 0.9 of the steps' "
                                                           "share, about 0.97"),
    "pointmaze": World("PointMaze_UMaze-v3", 0.95, 0.9, "none found; the most is 1"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--store", default="runs/studies", type=Path)
    asked = parser.parse_args()
    for name in asked.worlds:
        if name not in WORLDS:
            parser.error(f"unknown world '{name}'{suggestion(name, WORLDS)}")
    file = RESULTS / "gym_worlds.json"
    done: dict[str, Any] = json.loads(file.read_text())["worlds"] if file.exists() else {}
    for name in asked.worlds:
        done[name] = measured(name, asked.store)
        figures = {known: done[known] for known in WORLDS if known in done}
        record("gym_worlds", {"pairs": PAIRS, "manifest_seed": MANIFEST_SEED, "significant": SIGNIFICANT, "worlds": figures})
        page("gym_worlds", text(figures))
    return 0 if all(done[name]["met"] for name in asked.worlds) else 1


def measured(name: str, store: Path) -> dict[str, Any]:
    """One world: three seeds, chance, the untaught mind, and how fast the world is."""
    config = ami.compose([f"experiment={name}", f"evaluation.pairs={PAIRS}", f"evaluation.manifest_seed={MANIFEST_SEED}"])
    graph = to_graph(config)
    manifest = seal(config, graph)
    random = lived(to_graph(compose_baseline(config, "random")), {}, manifest, SEEDS[0])
    untrained = lived(graph, {}, manifest, SEEDS[0])
    seeds = []
    for seed in SEEDS:
        before = time.process_time()
        trained = train(ami.compose([f"experiment={name}", f"seed={seed}", "runtime=local", f"store={store}"]))
        cpu = time.process_time() - before
        agent = lived(graph, trained.weights, manifest, seed)
        test = agent.returns_against(random)
        seeds.append({"seed": seed, **told(agent), "learning_seconds": trained.seconds,
                      "learning_cpu_seconds": None if trained.cached else cpu, "against_random": test._asdict(),
                      "model_steps_per_plan": agent.model_steps_per_plan, "ms_per_decision": agent.ms_per_decision,
                      "rounds": [row for row in trained.rows if row["stage"] == "collect"]})
        print(f"{name} seed {seed}: return {seeds[-1]['return']:.4g}, random {fmean(random.returns()):.4g}, p {test.p:.1g}, "
              f"learnt in {trained.seconds:.0f} s")
    returns = [one["return"] for one in seeds]
    verdicts = {
        f"mean return >= {WORLDS[name].mean:g}": fmean(returns) >= WORLDS[name].mean,
        f"worst seed >= {WORLDS[name].worst:g}": min(returns) >= WORLDS[name].worst,
        f"every seed above random, p < {SIGNIFICANT}": all(
            one["against_random"]["p"] < SIGNIFICANT and one["against_random"]["difference"] > 0 for one in seeds),
        "untrained below the worst seed": fmean(untrained.returns()) < min(returns),
        f"learning <= {LEARNING_SECONDS:g} s": max(one["learning_seconds"] for one in seeds) <= LEARNING_SECONDS,
    }
    return {"manifest_hash": manifest.hash, "seeds": seeds, "random": told(random), "untrained": told(untrained),
            "world_steps_per_second": speed(graph), "verdicts": verdicts, "met": all(verdicts.values())}


def lived(graph: Graph, weights: Weights, manifest: Manifest, seed: int) -> Evaluation:
    watch = (MODEL_STEPS,) if "planner" in graph.order else ()
    with Agent(LocalRuntime(graph, seed, weights, watch=watch)) as agent:
        return evaluate([agent], manifest, BATCH)


def told(evaluation: Evaluation) -> dict[str, Any]:
    """The return with its interval, and success where the world tells it."""
    low, high = mean_interval(evaluation.returns())
    success = fmean(evaluation.successes()) if evaluation.tells_success else None
    return {"return": fmean(evaluation.returns()), "low": low, "high": high, "success": success}


def speed(graph: Graph) -> float:
    """Steps of the world per second under our driver, on one core: many rows, random actions, no mind."""
    world: Any = build_module(graph, "world", 0)
    mask, numbers = torch.ones(SPEED_ROWS, dtype=torch.bool), range(SPEED_ROWS)
    generator, steps, seconds = torch.Generator().manual_seed(0), 0, 0.0
    while seconds < SPEED_SECONDS:
        world.assign(mask, [ami.Episode(number, number) for number in numbers])
        world.begin(mask, list(numbers))
        begun, over = time.perf_counter(), torch.zeros(SPEED_ROWS, dtype=torch.bool)
        for _ in range(100):
            action = world.inputs["action"].sample(world.dims, SPEED_ROWS, generator)
            outputs = world.step(action)
            steps += int((~over).sum()) * world.repeat
            over = outputs["terminated"] | outputs["truncated"]
        seconds += time.perf_counter() - begun
    return steps / seconds


def text(figures: dict[str, Any]) -> str:
    """The page."""
    rows = []
    for name, figure in figures.items():
        seeds, returns = figure["seeds"], [one["return"] for one in figure["seeds"]]
        worst = min(seeds, key=lambda one: one["return"])
        rows.append(f"| {WORLDS[name].name} | {interval(figure['random'])} | {interval(figure['untrained'])} "
                    f"| **{fmean(returns):.4g}** | {interval(worst)} "
                    f"| {max(one['against_random']['p'] for one in seeds):.1g} "
                    f"| {WORLDS[name].published} | {steps_lived(name, seeds)} "
                    f"| {max(one['learning_seconds'] for one in seeds) / 60:.1f} ({cpu_minutes(seeds)}) "
                    f"| {figure['world_steps_per_second']:,.0f} |")
    verdicts = [f"* {WORLDS[name].name}: " + "; ".join(f"{what} {'met' if met else '**missed**'}"
                                                       for what, met in figure["verdicts"].items())
                for name, figure in figures.items()]
    missing = [WORLDS[name].name for name in WORLDS if name not in figures]
    return f"""# Six gymnasium worlds

**Question.** Does a mind of the blueprint learn worlds that were not made for it, from their reward alone, by imagining?

**What was done.** `{Path(sys.argv[0]).name}` trains `ami run experiment=NAME` with three seeds and lets each live
the same {PAIRS} sealed episodes (manifest seed {MANIFEST_SEED}).
The world model learns to foresee the next state, the reward and whether the episode goes on, where worlds are physics
in units of how far each number moves in a step; a critic learns by value iteration over imagined successors what lies
ahead, expecting a share of the steps to slip; the planner searches (CEM, its categorical form where actions are
choices, a tree in DoorKey); later rounds of experience are gathered by the mind itself. PointMaze has a goal and
learns as the two rooms do: distance to the goal, and a critic in hindsight. *random* draws actions uniformly
where they are choices and smoothly where they are not; *untrained* is the same mind before it learnt: the
negative control. *steps lived* are all that a seed learnt from, the most of the seeds. Intervals are 95 %; p is
Wilcoxon's signed-rank test of agent against random on the same episodes, the worst of the seeds.

| {' | '.join(COLUMNS)} |
|{'---|' * len(COLUMNS)}
{chr(10).join(rows)}

**Thresholds**, fixed before the run:

{chr(10).join(verdicts)}
{"" if not missing else chr(10) + "Not measured yet: " + ", ".join(missing) + "." + chr(10)}
**What it means.** The published figures took 20,000 to a million steps of model-free learning, and are single runs
by their authors' own account. These minds reach their level in CartPole, Pendulum and Acrobot, the last two with fewer
steps; in LunarLander they stay below it with more. They learn for minutes on one core. The comparison is of levels, not
of methods: the published agents act without planning.

What it took, found on other seeds: a change foreseen in units of itself (before, LunarLander's model was worse than
one that foresees no change at all), rewards in units of those that are not 0 (before, DoorKey's rare ones outweighed
the model's whole loss), a value that expects slips (before, CartPole's was as content at the edge of its track as in
the middle), and states near an end drawn more often.

**Limits.** States are the worlds' own numbers, standardised (DoorKey: one-hot places); nothing here sees
pixels. A few values of some settings were tried, on other seeds than these; CartPole (424) and PointMaze (.91)
had missed their thresholds on these seeds before that. DoorKey's actor keeps a tenth of its actions random: without
them some seeds' minds stand still before a door for ever, since their critic errs by more than a step is worth.
Learning times are wall time on a machine shared with other work, which the threshold is held against, and CPU time
beside it."""


def steps_lived(name: str, seeds: list[dict[str, Any]]) -> str:
    """How many steps of the world a seed learnt from, at most; not told where one round was all."""
    episodes = ami.compose([f"experiment={name}"]).settings.learning.collect.episodes
    lived = max(sum(row["steps"] for row in one["rounds"]) * episodes for one in seeds)
    return f"{lived:,.0f}" if lived else "–"


def cpu_minutes(seeds: list[dict[str, Any]]) -> str:
    seconds = [one["learning_cpu_seconds"] for one in seeds if one["learning_cpu_seconds"]]
    return f"{max(seconds) / 60:.1f}" if seconds else "found trained"


def interval(figure: dict[str, Any]) -> str:
    return f"{figure['return']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]"


if __name__ == "__main__":
    sys.exit(main())
