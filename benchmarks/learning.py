"""The cost of learning, now and at an earlier commit: CPU-seconds, seconds and the figures reached.

    git worktree add --detach ../before COMMIT
    python benchmarks/learning.py --before ../before    # about 20 minutes; writes benchmarks/results/learning.json

1. two_rooms: the whole recipe with three seeds and 200 sealed pairs of each kind, both commits alternating.
2. door_random, cartpole, doorkey: a slice of the recipe, both commits alternating, with a digest of the learnt weights. With
   equal digests the arithmetic is unchanged, and the figures recorded for the whole recipe hold.
3. two_rooms with `precision=bfloat16`, as in 1, at this commit alone.

Cases can be named; those that are not keep their figures. Each learning has a process and a store of its own, one thread
and no validation. CPU-seconds are of that process, imports of torch excluded; figures are medians over the seeds, and a
ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

import ami
from ami.config.compose import to_graph
from ami.session.evaluation import evaluate_local, seal
from ami.session.learn import learn
from ami.terminal.console import Console

HERE = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
PAIRS = 200
MANIFEST_SEED = 20261123
THRESHOLD = 0.6
"""The most CPU-seconds of two_rooms, as a share of those before."""
BFLOAT16 = "bfloat16"
CASES: dict[str, tuple[tuple[str, ...], int]] = {
    "two_rooms": ((), PAIRS),
    "door_random": (("experiment=door_random", "learning.collect.episodes=100", "learning.stages.model.steps=15",
                     "learning.stages.predictor.steps=150", "learning.stages.critic.steps=150"), 0),
    "cartpole": (("experiment=cartpole", "learning.rounds=2", "learning.stages.model.steps=300",
                  "learning.stages.critic.steps=300"), 0),
    "doorkey": (("experiment=doorkey", "learning.rounds=1", "learning.collect.episodes=50", "learning.collect.batch=50",
                 "learning.collect.steps=100", "learning.stages.model.steps=200", "learning.stages.critic.steps=200"), 0),
    f"two_rooms {BFLOAT16}": (("learning.stages.model.precision=bfloat16",
                               "learning.stages.critic.precision=bfloat16"), PAIRS),
}
"""The overrides of each case, and the number of sealed pairs of each kind; slices of a recipe are not evaluated."""


def learnt(overrides: Sequence[str], pairs: int) -> dict[str, Any]:
    """Learn in this process with a fresh store; return cost, digest of the weights and, for `pairs` > 0, the success."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as store:
        config = ami.compose([*overrides, f"evaluation.pairs={max(pairs, 1)}", f"evaluation.manifest_seed={MANIFEST_SEED}",
                              "runtime=local", f"store={store}"])
        cpu, wall = time.process_time(), time.perf_counter()
        trained = learn(config)
        found: dict[str, Any] = {"cpu_seconds": time.process_time() - cpu, "seconds": time.perf_counter() - wall}
        digest = hashlib.sha256()
        for _, state in sorted(trained.weights.items()):
            for _, value in sorted(state.items()):
                digest.update(value.contiguous().numpy().tobytes())
        found["digest"] = digest.hexdigest()[:16]
        if pairs:
            graph = to_graph(config)
            manifest = seal(config, graph)
            evaluation = evaluate_local(config, "agent", graph, trained.weights, manifest, Console(quiet=True))
            for kind in dict.fromkeys(one.kind for one in evaluation.outcomes):
                own = [one for one in evaluation.outcomes if one.kind == kind]
                found[kind] = {"solved": sum(bool(one.success) for one in own), "of": len(own),
                               "mean_steps": sum(one.steps for one in own) / len(own)}
    return found


def elsewhere(code: Path, overrides: Sequence[str], pairs: int = 0) -> dict[str, Any]:
    """Return `learnt` of the code in a folder, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", json.dumps([list(overrides), pairs])], check=True, text=True,
                          stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(code)})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(code.name, *overrides, json.dumps(found), flush=True)
    return found


def compared(sides: dict[str, Path], overrides: Sequence[str], seeds: Sequence[int], pairs: int = 0) -> dict[str, Any]:
    """Run all sides in turn for each seed, the first of them alternating."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number, seed in enumerate(seeds):
        for side in (list(sides) if number % 2 == 0 else list(sides)[::-1]):
            runs[side].append({"seed": seed, **elsewhere(sides[side], [*overrides, f"seed={seed}"], pairs)})
    figures: dict[str, Any] = {"overrides": list(overrides)}
    for side, found in runs.items():
        figures[side] = {"cpu_seconds": median(one["cpu_seconds"] for one in found),
                         "seconds": median(one["seconds"] for one in found), "runs": found}
    if "before" in runs:
        both = list(zip(runs["now"], runs["before"], strict=True))
        figures["cpu_ratio"] = median(now["cpu_seconds"] / before["cpu_seconds"] for now, before in both)
        figures["equal_weights"] = all(now["digest"] == before["digest"] for now, before in both)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; by default all. The others keep their figures")
    parser.add_argument("--before", type=Path, help="a checkout of the earlier commit, to be measured too")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="training seeds")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(learnt(*json.loads(args.one))))
        return 0
    from record import RESULTS, record  # here, since the earlier commit runs this file too

    sides = {"now": HERE} | ({"before": args.before.resolve()} if args.before else {})
    commit = subprocess.run(["git", "-C", str(args.before), "rev-parse", "--short", "HEAD"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout.strip() if args.before else None
    file = RESULTS / "learning.json"
    figures: dict[str, Any] = json.loads(file.read_text())["cases"] if file.exists() else {}
    for name in args.cases or CASES:
        overrides, pairs = CASES[name]
        of = {"now": HERE} if name.endswith(BFLOAT16) else sides
        figures[name] = {"commit_before": commit, **compared(of, overrides, args.seeds, pairs)}
    record("learning", {"threshold": THRESHOLD, "cases": figures})
    for name, one in figures.items():
        print(f"{name:22} {one['now']['cpu_seconds']:7.1f} CPU-s"
              + (f", {one['cpu_ratio']:.2f} × before, weights {'equal' if one['equal_weights'] else 'differ'}"
                 if "cpu_ratio" in one else ""))
    return 0 if figures.get("two_rooms", {}).get("cpu_ratio", 0) <= THRESHOLD else 1


if __name__ == "__main__":
    sys.exit(main())
