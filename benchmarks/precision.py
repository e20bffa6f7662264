"""bfloat16 in learning and in imagination, and the steps of learning of three experiments: success and CPU-seconds.

    python benchmarks/precision.py [CASES]     # about 30 minutes; writes benchmarks/results/precision.json

1. two_rooms: learnt in float32 and with `learning.stages.model.precision=bfloat16`; the agents learnt in float32 are also
   evaluated with `world_model.imagination_precision=bfloat16`, with 50 worlds at once and with one.
2. ema, sigreg, mode1: learnt with the steps of two_rooms, 800 and 1,000, and with the earlier 1,200 and 1,500.

Cases can be named; those that are not keep their figures. The pairs are fresh: no recipe was chosen by them. Each seed has a
process and a store of its own and one thread. The experience is collected once before, so CPU-seconds of learning are those
of the stages alone; the stages of mode1 before its policy are learnt first, and only the policy is timed. Sides alternate
over the seeds; a ratio is the median of the seeds' ratios.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from record import RESULTS, record

import ami
from ami.config.compose import Config, to_graph
from ami.runtime.held_modules import Weights
from ami.session.evaluation import evaluate_local, seal
from ami.session.learn import learn
from ami.terminal.console import Console

SEEDS, SEEDS_OF_STEPS = (0, 1, 2), (0,)
PAIRS, PAIRS_ALONE = 200, 20
MANIFEST_SEED = 20261130
TWO_ROOMS, MODE1 = "two_rooms", "mode1"
CASES = (TWO_ROOMS, "ema", "sigreg", MODE1)
LEARNING: dict[str, tuple[str, ...]] = {"float32": (), "bfloat16": ("learning.stages.model.precision=bfloat16",)}
IMAGINATION: dict[str, tuple[str, ...]] = {"float32": (), "bfloat16": ("world_model.imagination_precision=bfloat16",)}
STEPS: dict[str, tuple[str, ...]] = {"earlier": ("learning.stages.model.steps=1200", "learning.stages.critic.steps=1500"),
                                     "now": ()}
COLLECT = ("learning.stages.model.steps=2", "learning.stages.critic=null")


def evaluated(config: Config, weights: Weights) -> dict[str, Any]:
    """Evaluate an agent; return CPU-seconds, and success and mean steps by kind of pair."""
    graph = to_graph(config)
    manifest = seal(config, graph)
    begun = time.process_time()
    outcomes = evaluate_local(config, "agent", graph, weights, manifest, Console(quiet=True)).outcomes
    found: dict[str, Any] = {"evaluation_cpu_seconds": time.process_time() - begun}
    for kind in dict.fromkeys(one.kind for one in outcomes):
        own = [one for one in outcomes if one.kind == kind]
        found[str(kind)] = {"solved": sum(bool(one.success) for one in own), "of": len(own),
                            "mean_steps": sum(one.steps for one in own) / len(own)}
    return found


def measured(case: str, seed: int) -> dict[str, Any]:
    """Learn and evaluate both sides of a case in this process."""
    torch.set_num_threads(1)
    sides = LEARNING if case == TWO_ROOMS else STEPS
    found: dict[str, Any] = {"seed": seed}
    with tempfile.TemporaryDirectory() as store:
        common = [f"seed={seed}", "runtime=local", f"store={store}", f"evaluation.manifest_seed={MANIFEST_SEED}"]
        given = [*common, f"evaluation.pairs={PAIRS}"]
        learn(ami.compose([*given, *COLLECT]))
        for side in list(sides) if seed % 2 == 0 else list(sides)[::-1]:
            if case == MODE1:
                learn(ami.compose([*given, *sides[side]]))
            config = ami.compose([*given, *sides[side], *([] if case == TWO_ROOMS else [f"experiment={case}"])])
            begun = time.process_time()
            trained = learn(config)
            found[side] = {"cpu_seconds": time.process_time() - begun, **evaluated(config, trained.weights)}
            if case == TWO_ROOMS and side == "float32":
                found["imagination"] = imagined(common, trained.weights)
    return found


def imagined(common: Sequence[str], weights: Weights) -> dict[str, Any]:
    """Evaluate one agent in both precisions of imagination, with 50 worlds and with one."""
    return {f"B={batch}": {side: evaluated(ami.compose([*common, *more, f"evaluation.batch={batch}",
                                                        f"evaluation.pairs={pairs}"]), weights)
                           for side, more in IMAGINATION.items()}
            for batch, pairs in ((50, PAIRS), (1, PAIRS_ALONE))}


def compared(case: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Measure a case, each seed in a process of its own."""
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        done = subprocess.run([sys.executable, __file__, "--one", json.dumps([case, seed])], check=True, text=True,
                              stdout=subprocess.PIPE)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(case, json.dumps(runs[-1]), flush=True)
    first, second = LEARNING if case == TWO_ROOMS else STEPS
    figures: dict[str, Any] = {"learning CPU ratio": median(run[second]["cpu_seconds"] / run[first]["cpu_seconds"]
                                                            for run in runs)}
    for batch in runs[0].get("imagination", ()):
        figures[f"evaluation CPU ratio, {batch}"] = median(
            run["imagination"][batch]["bfloat16"]["evaluation_cpu_seconds"]
            / run["imagination"][batch]["float32"]["evaluation_cpu_seconds"] for run in runs)
    return figures | {"runs": runs}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; by default all. The others keep their figures")
    parser.add_argument("--seeds", type=int, nargs="+", help="training seeds; by default 0 1 2 of two_rooms, 0 of others")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measured(*json.loads(args.one))))
        return 0
    file = RESULTS / "precision.json"
    for name in args.cases or CASES:
        figures = compared(name, args.seeds or (SEEDS if name == TWO_ROOMS else SEEDS_OF_STEPS))
        before = json.loads(file.read_text())["cases"] if file.exists() else {}
        record("precision", {"manifest_seed": MANIFEST_SEED, "cases": before | {name: figures}})
        print(name, *(f"{key} {value:.2f}" for key, value in figures.items() if key != "runs"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
