"""MiniGrid-Memory: the agent with its memory, without one, with a memory that is removed after learning, and controls.

    python benchmarks/minigrid_memory.py [WORLD ...] [--seeds 0 1 2] [--store runs/studies]

Writes benchmarks/results/minigrid_memory.json after every world; the figures of other worlds are kept from an earlier run.
All agents run the same 200 sealed episodes. The thresholds below were fixed before the measured run, on a manifest seed that
was not used for tuning. The script exits with 1 if one is missed. Experience is collected by a script that knows the map and
enters a random arm; it does not act in the measured episodes.
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
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import RESULTS, record

import ami
from ami.agent import Agent
from ami.config.compose import compose_baseline, to_graph
from ami.evaluation.evaluate import evaluate, evaluation_ports
from ami.evaluation.manifest import Manifest
from ami.evaluation.outcomes import Evaluation
from ami.evaluation.statistics import wilson
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.runtime.worker import Weights
from ami.session.evaluation import seal
from ami.session.learn import learn

torch.set_num_threads(1)
WORLDS, SEEDS = ("s7", "s11", "s13"), (0, 1, 2)
PAIRS, MANIFEST_SEED, BATCH = 200, 20261130, 200
WITH, WITHOUT = 0.95, 0.60
LIMITS = {name: 5 * int(name[1:])**2 for name in WORLDS}
"""The most steps of an episode, as MiniGrid sets them."""
NO_MEMORY = ("memory=none", "learning.stages.model.train=[world_model]")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worlds", nargs="*", default=["s7"], help=f"of {', '.join(WORLDS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--store", default="runs/studies", type=Path)
    given = parser.parse_args()
    file = RESULTS / "minigrid_memory.json"
    done: dict[str, Any] = json.loads(file.read_text())["worlds"] if file.exists() else {}
    for name in given.worlds:
        done[name] = measured(name, given.seeds, given.store)
        record("minigrid_memory", {"pairs": PAIRS, "manifest_seed": MANIFEST_SEED, "with": WITH, "without": WITHOUT,
                                   "worlds": {known: done[known] for known in WORLDS if known in done}})
    return 0 if all(done[name]["met"] for name in given.worlds) else 1


def measured(name: str, seeds: list[int], store: Path) -> dict[str, Any]:
    """Measure one world: for every seed with memory, without, and with the memory removed after learning; the controls."""
    chosen = [f"experiment=memory_{name}", f"evaluation.pairs={PAIRS}", f"evaluation.manifest_seed={MANIFEST_SEED}"]
    config = ami.compose(chosen)
    graph, blind = to_graph(config), to_graph(ami.compose([*chosen, *NO_MEMORY]))
    manifest = seal(config, graph)
    runs = []
    for seed in seeds:
        one: dict[str, Any] = {"seed": seed}
        for variant, further in (("with", ()), ("without", NO_MEMORY)):
            begun = time.process_time()
            trained = learn(ami.compose([*chosen, *further, f"seed={seed}", "runtime=local", f"store={store}"]))
            seconds = None if trained.cached else time.process_time() - begun
            own = blind if further else graph
            one[variant] = figures(name, evaluated(own, trained.weights, manifest, seed)) | {"learning_cpu_seconds": seconds}
            if not further:
                kept = {node: weights for node, weights in trained.weights.items() if node != "memory"}
                one["removed"] = figures(name, evaluated(blind, kept, manifest, seed))
        runs.append(one)
        print(name, json.dumps(one), flush=True)
    verdicts = {f"with memory >= {WITH}": min(one["with"]["success"] for one in runs) >= WITH,
                f"without memory <= {WITHOUT}": max(one["without"]["success"] for one in runs) <= WITHOUT}
    return {"manifest_hash": manifest.hash, "seeds": runs,
            "random": figures(name, evaluated(to_graph(compose_baseline(config, "random")), {}, manifest, 0)),
            "untrained": figures(name, evaluated(graph, {}, manifest, 0)),
            "mean_with": fmean(one["with"]["success"] for one in runs),
            "mean_without": fmean(one["without"]["success"] for one in runs),
            "verdicts": verdicts, "met": all(verdicts.values())}


def evaluated(graph: Graph, weights: Weights, manifest: Manifest, seed: int) -> Evaluation:
    with Agent(LocalRuntime(graph, seed, weights, watch=evaluation_ports(graph))) as agent:
        return evaluate([agent], manifest, BATCH)


def figures(world: str, evaluation: Evaluation) -> dict[str, Any]:
    """Return success with its interval, the share of episodes that ran out of time, mean return and mean steps."""
    successes = evaluation.successes()
    steps = [outcome.steps for outcome in evaluation.outcomes]
    low, high = wilson(sum(successes), len(successes))
    late = [taken >= LIMITS[world] and not solved for taken, solved in zip(steps, successes, strict=True)]
    return {"success": fmean(successes), "low": low, "high": high, "out_of_time": fmean(late),
            "return": fmean(evaluation.returns()), "steps": fmean(steps)}


if __name__ == "__main__":
    sys.exit(main())
