"""Learning while acting in the two rooms, from nothing, beside learning from random episodes collected before.

    python benchmarks/online.py [--store runs/studies] [--seeds 0]

About 3 CPU-minutes per variant and seed; writes benchmarks/results/online.json and docs/studies/online.md. Every variant has
the same stages with half of their default steps and sees 500 episodes of 32 steps. Success is measured during learning on
unsealed pairs, without exploration, and at the end on sealed ones.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import page, record
from study import evaluate_agent, manifest_of, pooled

import ami
from ami.agent import Agent
from ami.config.compose import Config, to_graph
from ami.evaluation.evaluate import evaluate
from ami.graph.prune import prune
from ami.learning.stage import Stage
from ami.learning.trainer import COLLECT
from ami.module import Module
from ami.runtime.local import LocalRuntime
from ami.session.learn import learn
from ami.session.validation import Validation, validation_pairs

torch.set_num_threads(1)
PAIRS, POINTS, EPISODES, LONGEST, MAX_LAG = 50, 4, 500, 32, 20
KINDS = ("same_room", "across")
SHORT = ("learning.stages.model.steps=400", "learning.stages.critic.steps=500", "validation.pairs=10", "trace.record=false")
ONLINE = (*SHORT, "learning=online", "learning.collect.episodes=50")
OFFLINE, RANDOM, UNTRAINED = "random episodes before", "random actions while learning", "untrained"
ONE, TWO = "1 agent", "2 agents"
VARIANTS: dict[str, tuple[str, ...]] = {
    ONE: ONLINE,
    OFFLINE: (*SHORT, f"learning.collect.episodes={EPISODES}"),
    TWO: (*ONLINE, "agents=2", f"learning.online.max_lag={MAX_LAG}"),
    RANDOM: (*ONLINE, "learning.online.agent='actor=random'"),
}
THRESHOLDS = {
    "across the wall, one agent, points less than random episodes before": 5.0,
    "across the wall, two agents, points less than one": 5.0,
    "across the wall, untrained, %": 10.0,
    "largest lag of one agent": 0.0,
    "largest lag of two agents": float(MAX_LAG),
}


class Curve:
    """A monitor that measures success a few times during learning; its own time does not count."""

    def __init__(self, config: Config, folder: Path, steps: int) -> None:
        self.config, self.folder, self.steps = config, folder, steps
        self.points: list[dict[str, float]] = []
        self.done = self.world_steps = 0
        self.begun, self.own = time.process_time(), 0.0

    def begin(self, modules: Mapping[str, Module]) -> None:
        self.validation = Validation(self.config, to_graph(self.config), modules)
        self.pairs = validation_pairs(self.config, to_graph(self.config))

    def log(self, row: Mapping[str, float | str]) -> None:
        if row["stage"] == COLLECT:
            self.world_steps = int(row["world_steps"])

    def on_step(self, stage: Stage, step: int, row: object, show: object) -> None:
        self.done += 1
        if self.done * POINTS // self.steps == (self.done - 1) * POINTS // self.steps:
            return
        begun, graph = time.process_time(), to_graph(self.config)
        assert self.pairs is not None
        with torch.random.fork_rng(devices=[]), Agent(
                LocalRuntime(prune(graph, ()), self.config.settings.seed, self.validation.weights())) as agent:
            kinds = evaluate([agent], self.pairs, len(self.pairs.pairs)).kinds()
        start = int(self.config.settings.learning.collect.episodes) * LONGEST
        self.points.append({"steps": self.done, "world_steps": start + self.world_steps,
                            "cpu_seconds": round(begun - self.begun - self.own, 1),
                            **{kind: kinds[kind]["success"] for kind in KINDS}})
        print(f"  {self.points[-1]}", flush=True)
        self.own += time.process_time() - begun


def run(name: str, overrides: Sequence[str], seed: int, store: Path) -> dict[str, Any]:
    """Train a variant and evaluate it; training is not read from the cache, since its course is measured."""
    print(f"{name}, seed {seed}", flush=True)
    with TemporaryDirectory(dir=store) as place:
        config = ami.compose([*overrides, f"seed={seed}", "runtime=local", f"store={place}"])
        steps = sum(int(stage.steps) for stage in config.settings.learning.stages.values())
        curve = Curve(config, Path(place) / "run", steps)
        trained = learn(config, monitor=curve)  # type: ignore[arg-type]
    acted = [{key: value for key, value in row.items() if key != "stage"} for row in trained.rows
             if row["stage"] == COLLECT]
    found = evaluate_agent(SHORT, trained.weights, manifest_of(PAIRS), seed).kinds()
    return {"curve": curve.points, "acted": acted,
            **{kind: {key: found[kind][key] for key in ("n", "success", "mean_steps")} for kind in KINDS}}


def untrained(seed: int) -> dict[str, Any]:
    found = evaluate_agent(SHORT, {}, manifest_of(PAIRS), seed).kinds()
    return {kind: {key: found[kind][key] for key in ("n", "success", "mean_steps")} for kind in KINDS}


def checks(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return each threshold with its figure and whether it is met."""
    across = {name: 100 * mean(run["across"]["success"] for run in runs) for name, runs in found.items()}
    lag = {name: max((row.get("lag", 0.0) for run in runs for row in run.get("acted", ())), default=0.0)
           for name, runs in found.items()}
    figures = dict(zip(THRESHOLDS, (across[OFFLINE] - across[ONE], across[ONE] - across[TWO], across[UNTRAINED], lag[ONE],
                                    lag[TWO]), strict=True))
    return {name: {"figure": round(figures[name], 2), "threshold": THRESHOLDS[name],
                   "is_met": figures[name] <= THRESHOLDS[name]} for name in THRESHOLDS}


def text(found: Mapping[str, Sequence[Mapping[str, Any]]], judged: Mapping[str, Any]) -> str:
    learnt = {name: runs for name, runs in found.items() if name != UNTRAINED}
    rows = "\n".join(f"| {name} | {pooled(runs, 'same_room')} | {pooled(runs, 'across')} |" for name, runs in found.items())
    points = "\n".join(
        f"| {name} | {point['steps']} | {point['world_steps']:,} | {point['cpu_seconds']:.0f} "
        f"| {100 * point['same_room']:.0f} | {100 * point['across']:.0f} |"
        for name, runs in learnt.items() for point in runs[0]["curve"])
    last = "\n".join(
        f"| {name} | {row['replay_ratio']:.4f} | {row['lag']:.2f} | {row['staleness']:.0f} | {row['buffer']:,.0f} "
        f"| {100 * row.get('success', 0):.0f} |" for name, runs in learnt.items() for row in runs[0]["acted"][-1:])
    targets = "\n".join(f"* {name}: {one['figure']} (threshold {one['threshold']}){'' if one['is_met'] else ', **missed**'}"
                        for name, one in judged.items())
    return f"""# Learning while acting

The two rooms from nothing, with half of the default steps of learning. *{OFFLINE.capitalize()}*: {EPISODES} episodes of
{LONGEST} steps, then the stages one after another. *{RANDOM.capitalize()}*: 50 random episodes, then all stages in turns
while random episodes come in. *1 agent*: the same while it acts with the weights learnt so far, 30 % of its actions random.
*2 agents* act at the same time as the trainer learns, in threads of one process, with weights at most {MAX_LAG} steps of
learning old.

Success on {PAIRS} sealed pairs of each kind:

| experience | same room | across the wall |
|---|---|---|
{rows}

During learning, on unsealed pairs, of the first seed. CPU time includes acting and collecting, not these measurements:

| experience | steps of learning | steps of the world | CPU-seconds | same room, % | across, % |
|---|---|---|---|---|---|
{points}

The last wave, of the first seed; its success is that of the acting agent with its exploration:

| experience | replay ratio | lag | staleness | observations | success, % |
|---|---|---|---|---|---|
{last}

{targets}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("runs/studies"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    given.store.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, Any]]] = {name: [run(name, overrides, seed, given.store) for seed in given.seeds]
                                              for name, overrides in VARIANTS.items()}
    found[UNTRAINED] = [untrained(seed) for seed in given.seeds]
    judged = checks(found)
    record("online", {"figures": found, "checks": judged, "seeds": given.seeds})
    page("online", text(found, judged))
    for name, one in judged.items():
        print(f"{name}: {one}")
    return int(not all(one["is_met"] for one in judged.values()))


if __name__ == "__main__":
    sys.exit(main())
