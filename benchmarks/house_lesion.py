"""What each part of the agent of the house is worth: lives without it, the same lives, the same weights.

    python benchmarks/house_lesion.py [--seeds 0] [--pairs 60]    # about 20 CPU-minutes; writes results/house_lesion.json

A lesion is made after learning: nothing is learnt again. Every row is tested against the intact agent on the same lives
(exact McNemar). `ami compare --lesion agent=house` does the same for every wire and both kinds of episodes.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from house import MANIFEST_SEED, lived
from record import record

import ami
from ami.evaluation.statistics import paired_test
from ami.session.learn import learn
from worlds.house.world import HouseVectorEnv


def cut(*wires: str) -> list[str]:
    """Return the overrides by which wires always send 0: "level2.kept=memory.kept"."""
    parts = (wire.partition("=") for wire in wires)
    return [f"graph.{to}={{from: {sender}, init: 0, cut: true}}" for to, _, sender in parts]


LESIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "perception untrained": ([], ("perception",)),
    "world model untrained": ([], ("world_model",)),
    "actor untrained": ([], ("actor",)),
    "memory": (["memory=none"], ()),
    "memory's map": (cut("level2.kept=memory.kept"), ()),
    "memory's recall": (["graph.world_model.recall=null", "graph.world_model.score=null"], ()),
    "memory's answer to the goal": (cut("wish.wanted=memory.wanted"), ()),
    "memory's relief": (cut("wish.relief=memory.relief"), ()),
    "goal picture": (cut("memory.goal=goal.goal"), ()),
    "battery as a drive": (["cost.weights.battery=0", "cost.floors.battery=0"], ()),
    "bump as a cost": (["cost.weights.bump=0"], ()),
    "configurator: errand alone": (["configurator.rule=errand"], ()),
    "configurator: charger alone": (["configurator.rule=relief"], ()),
    "configurator: threshold": (["configurator.rule=threshold"], ()),
    "level 2": (["graph.planner.goal=wish.goal", "graph.cost.goal=wish.goal", "graph.actor.goal=wish.goal"], ()),
    "level 1's search": (["configurator.mode=1"], ()),
    "the policy": (["configurator.mode=2"], ()),
}


def of_seed(seed: int, count: int) -> list[dict[str, Any]]:
    """Return a row per lesion of one trained agent."""
    sealed = HouseVectorEnv(1).sample_pairs(MANIFEST_SEED, count)
    lives = [pair for pair in sealed if pair["kind"] == "life"]
    with tempfile.TemporaryDirectory() as store:
        common = ["agent=house", "runtime=local", f"seed={seed}", f"store={store}", "evaluation.baselines=[]"]
        weights = learn(ami.compose(common)).weights
        intact = lived(ami.compose(common), weights, lives).success
        rows = [{"seed": seed, "without": "nothing", "solved": sum(intact), "of": len(lives)}]
        print(f"seed {seed}  intact {sum(intact)} of {len(lives)}", flush=True)
        for name, (overrides, untrained) in LESIONS.items():
            kept = {node: state for node, state in weights.items() if node not in untrained}
            without = lived(ami.compose([*common, *overrides]), kept, lives).success
            test = paired_test(intact, without)
            rows.append({"seed": seed, "without": name, "solved": sum(without), "of": len(lives),
                         "points_lost": (sum(intact) - sum(without)) / len(lives), "p": test.p})
            print(f"seed {seed}  without {name:32} {sum(without):3} of {len(lives)}  p = {test.p:.2g}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--pairs", type=int, default=60, help="lives (default 60)")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in given.seeds.split(","):
        rows += of_seed(int(seed), given.pairs)
        record("house_lesion", {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
