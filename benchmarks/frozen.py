"""An encoder learnt in one agent, frozen in another with another world model: success and CPU-seconds of learning.

    python benchmarks/frozen.py [--seeds 0,1,2]     # two to five minutes per seed; writes benchmarks/results/frozen.json

The first agent is the default one. The second has a narrower world model, world_model.hidden=128, and learns three times
from the same experience: from scratch; with the first agent's encoder, frozen; and with an untrained encoder, frozen, as
negative control. CPU-seconds are those of learning alone: the experience is collected once before.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.session.learn import learn

PAIRS = 200
MANIFEST_SEED = 20261123
COMMON = ["runtime=local", f"evaluation.pairs={PAIRS}", f"evaluation.manifest_seed={MANIFEST_SEED}",
          "evaluation.baselines=[]", "evaluation.video=0", "trace.record=false"]
SECOND = ["world_model.hidden=128"]
FROZEN = ["perception.frozen=true", "learning.stages.model.source=percepts"]
AGENTS = {"scratch": SECOND, "frozen": [*SECOND, "perception.weights=first", *FROZEN], "untrained": [*SECOND, *FROZEN]}
THRESHOLDS = {"frozen success, at least": 0.98, "untrained success, at most": 0.5, "frozen over scratch CPU, at most": 0.8}


def learnt(store: str, seed: int, name: str, overrides: list[str]) -> dict[str, Any]:
    """Train and evaluate one agent; return its success by kind and the CPU-seconds of its learning."""
    config = ami.compose([*COMMON, f"seed={seed}", f"store={store}", *overrides])
    begun = time.process_time()
    trained = learn(config)
    cpu = time.process_time() - begun
    summary = ami.run(config, Path(store) / name).summary
    kinds = {kind: figures["success"] for kind, figures in summary["agent"].items() if isinstance(figures, dict)}
    print(f"seed {seed}  {name:10} {cpu:6.1f} CPU-s  {kinds}  found: {', '.join(trained.found) or 'nothing'}", flush=True)
    return {"success": kinds, "cpu_seconds": cpu}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0,1,2")
    seeds = [int(seed) for seed in parser.parse_args().seeds.split(",")]
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as store:
            found = {"first": learnt(store, seed, "first", [])}
            runs.append(found | {name: learnt(store, seed, name, overrides) for name, overrides in AGENTS.items()})
    rates = {name: mean(rate for run in runs for rate in run[name]["success"].values()) for name in runs[0]}
    cpu = {name: mean(run[name]["cpu_seconds"] for run in runs) for name in runs[0]}
    figures = {"frozen success, at least": rates["frozen"], "untrained success, at most": rates["untrained"],
               "frozen over scratch CPU, at most": cpu["frozen"] / cpu["scratch"]}
    met = {name: value >= THRESHOLDS[name] if "at least" in name else value <= THRESHOLDS[name]
           for name, value in figures.items()}
    for name, value in figures.items():
        print(f"{'met   ' if met[name] else 'MISSED'} {name:34} {value:.3f}   (threshold {THRESHOLDS[name]})")
    record("frozen", {"seeds": seeds, "success": rates, "cpu_seconds": cpu, "thresholds": THRESHOLDS, "figures": figures,
                      "met": met, "runs": runs})
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
