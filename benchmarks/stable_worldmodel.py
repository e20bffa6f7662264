"""stable-worldmodel's CEM against ours, with the same learnt world model: success and CPU-time, in one run.

    python benchmarks/stable_worldmodel.py [STORE] [--venv FOLDER]     # about eight CPU-minutes

The script makes a virtual environment in FOLDER (runs/stable-worldmodel) and runs itself there. That environment sees the
packages of this one, plus stable-worldmodel and the logger that its solvers need: a few megabytes.

Both plan with the same candidates, iterations, elites, horizon and initial standard deviation, from the last plan shifted by
one step, on the same sealed pairs; stable-worldmodel's solver through its published protocol (`Costable.get_cost`). Writes
benchmarks/results/stable_worldmodel.json and docs/studies/stable_worldmodel.md. The thresholds below were fixed before the
run; the script exits with 1 if one is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["AMI_ALLOW"] = "stable_worldmodel_planner."

import argparse
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

HOME = Path(__file__).resolve().parents[1]
PACKAGES = ("stable-worldmodel==0.1.1", "loguru==0.7.3")
SEEDS, PAIRS, BATCH = (0, 1, 2), 200, 200
KINDS, DEADLINE = ("same_room", "across"), 20
ROUNDS, PLANS = 15, {1: 20, BATCH: 3}
"""Of the timing: the number of rounds, and of plans per round by the number of planning worlds."""
BOTH = ("planner.horizon=4", "planner.num_candidates=32", "planner.num_iterations=2", "planner.num_elites=5",
        "planner.init_std=0.8")
PLANNERS = {"ami": ["planner=cem", *BOTH],
         "stable-worldmodel": ["planner._target_=stable_worldmodel_planner.SolverPlanner", *BOTH]}
THRESHOLDS = {
    "ami, across, worst seed": 0.95,
    "ami minus stable-worldmodel, across, mean": -0.02,
    "CPU-time per plan, ami over stable-worldmodel, one world, at most": 1.0,
    "CPU-time per plan, ami over stable-worldmodel, 200 worlds, at most": 1.05,
    "untrained, ami, across, mean, at most": 0.15,
}


def in_its_own_environment(folder: Path) -> int:
    """Make the environment once, and run this script in it."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        (site,) = folder.glob("lib/python*/site-packages")
        # a path file shares this environment's packages, such as torch, without a second copy
        (site / "ami.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{HOME}\n", encoding="utf-8")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *PACKAGES], check=True)
        (folder / "ready").touch()
    return subprocess.run([python, *sys.argv, "--inside"], check=False).returncode


def per_plan(planners: dict[str, Any], batch: int, width: int, terms: int) -> dict[str, float]:
    """Return CPU-milliseconds per plan and world of each planner, medians of alternating rounds."""
    import torch

    import ami

    state, goal = torch.randn(batch, width), torch.randn(batch, width)
    inputs = {"state": state, "goal": goal, "mode": torch.full((batch,), 2), "weights": torch.ones(batch, terms)}

    def timed(planner: Any) -> Callable[[], float]:
        planner.begin(torch.ones(batch, dtype=torch.bool), [ami.Episode(row, seed=row) for row in range(batch)])

        def run() -> float:
            begun = time.process_time()
            with torch.no_grad():
                for _ in range(PLANS[batch]):
                    planner.step(**inputs)
            return 1000 * (time.process_time() - begun) / PLANS[batch] / batch
        return run

    clocks = {name: timed(planner) for name, planner in planners.items()}
    rounds = [{name: clock() for name, clock in clocks.items()} for _ in range(ROUNDS + 1)][1:]
    return {name: median(each[name] for each in rounds) for name in clocks}


def timing(weights: Any) -> dict[str, dict[str, float]]:
    """Return CPU-milliseconds per plan, by the number of planning worlds."""
    import ami
    from ami.config.compose import to_graph
    from ami.runtime.worker import Worker

    planners, graph = {}, None
    for name, overrides in PLANNERS.items():
        graph = to_graph(ami.compose(overrides))
        planners[name] = Worker(graph, ["planner"], 0, weights).modules["planner"]
    assert graph is not None
    (width,), terms = graph.dims["planner"]["S"], graph.dims["planner"]["W"]
    return {str(batch): per_plan(planners, batch, width, terms) for batch in (1, BATCH)}


def text(seen: dict[str, Any]) -> str:
    from ami.evaluation.statistics import paired_test, wilson

    def share(hits: list[bool]) -> str:
        low, high = wilson(sum(hits), len(hits))
        return f"{100 * mean(hits):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"

    rows = []
    for name in PLANNERS:
        runs = seen["runs"][name]
        cells = [share([hit for run in runs for hit in run[figure]])
                 for figure in ("same_room", "across", "across_soon")]
        steps = mean(run["steps_across"] for run in runs)
        times = [f"{seen['cpu_ms_per_plan'][batch][name]:.3f}" for batch in ("1", str(BATCH))]
        rows.append(f"| {name} | {' | '.join(cells)} | {steps:.1f} | {' | '.join(times)} |")
    one, other = ([hit for run in seen["runs"][name] for hit in run["across_soon"]] for name in PLANNERS)
    blind = share([hit for run in seen["runs"]["untrained"] for hit in run["across"]])
    verdicts = "\n".join(f"* {name}: {v['value']:.3f}, threshold {v['threshold']}, {'met' if v['met'] else 'missed'}"
                         for name, v in seen["verdicts"].items())
    seeds, package = ", ".join(map(str, SEEDS)), PACKAGES[0].replace("==", " ")
    return f"""# stable-worldmodel's CEM with our world model

**Method.** The default agent learnt two rooms with the training seeds {seeds}. Then two planners planned with it, in one
process, on the same {PAIRS} sealed pairs of each kind per seed: our `cem`, and the unchanged `CEMSolver` of {package}.
The latter calls our world model and cost through its own protocol, `get_cost(info, candidates)`. Both draw 32 candidates
of 4 actions in each of 2 iterations, refit to the best 5, and begin with a standard deviation of 0.8 around the last
plan, shifted by one step: 256 model steps per plan. An action beyond [-1, 1] is clipped in `get_cost`, as in the world.

| | same room | across the wall | across within {DEADLINE} steps | steps across | CPU-ms per plan | and with {BATCH} worlds |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Intervals are Wilson's, 95 %, over all seeds' pairs; steps across are those of the pairs solved. CPU-time is that of the
planner's step with all its model calls, per world, with one planning world and with {BATCH}: medians of {ROUNDS}
alternating rounds. An untrained agent reaches {blind} across the wall with our `cem`.

**Interpretation.** Across the wall within {DEADLINE} steps ours differs from theirs by
{100 * (mean(one) - mean(other)):+.1f} points (McNemar's exact test over all pairs: p = {paired_test(one, other).p:.2g}). The
model calls are the same, so the difference in time is that of the solvers.

Thresholds fixed before the run:

{verdicts}

**Limits.** The two algorithms differ in details. Theirs includes the mean among the candidates, has no minimum standard
deviation, and does not clip before selection; ours clips candidates, keeps a standard deviation of at least 0.1, and
gives every world its own random stream, which costs time with many worlds. Theirs prints a line at every plan, which is
discarded here. Their package is made for larger models, for which the solver's own time is negligible. Times are from one
machine.
"""


def inside(store: Path) -> int:
    sys.path.insert(0, str(Path(__file__).parent))
    import torch
    from record import page, record
    from study import SEED, evaluate_agent, learn, manifest_of

    torch.set_num_threads(1)
    manifest = manifest_of(PAIRS)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in (*PLANNERS, "untrained")}
    for seed in SEEDS:
        trained = learn([], seed, store)
        for name, overrides, weights in [*((n, o, trained.weights) for n, o in PLANNERS.items()),
                                         ("untrained", PLANNERS["ami"], {})]:
            begun = time.process_time()
            evaluation = evaluate_agent(overrides, weights, manifest, seed, BATCH)
            hits = {kind: evaluation.successes(kind) for kind in KINDS}
            arrived = [o.steps for o in evaluation.outcomes if o.kind == "across" and o.success]
            soon = [bool(o.success) and o.steps <= DEADLINE for o in evaluation.outcomes if o.kind == "across"]
            runs[name].append({"seed": seed, **hits, "across_soon": soon, "steps_across": mean(arrived) if arrived else 0.0,
                               "model_steps_per_plan": evaluation.model_steps_per_plan,
                               "cpu_seconds": time.process_time() - begun})
            print(f"seed {seed}  {name:18} " + "  ".join(f"{kind} {mean(hit):.3f}" for kind, hit in hits.items())
                  + f"  within {DEADLINE} steps {mean(soon):.3f}", flush=True)
    times = timing(trained.weights)
    across = {name: [mean(run["across"]) for run in rows] for name, rows in runs.items()}
    values = (min(across["ami"]), mean(across["ami"]) - mean(across["stable-worldmodel"]),
              *(times[batch]["ami"] / times[batch]["stable-worldmodel"] for batch in ("1", str(BATCH))),
              mean(across["untrained"]))
    verdicts = {name: {"value": value, "threshold": limit,
                       "met": value <= limit if "at most" in name else value >= limit}
                for (name, limit), value in zip(THRESHOLDS.items(), values, strict=True)}
    for name, verdict in verdicts.items():
        print(f"{'met   ' if verdict['met'] else 'MISSED'}  {name:70} {verdict['value']:.3f}  ({verdict['threshold']})")
    seen = {"packages": PACKAGES, "seeds": SEEDS, "pairs": PAIRS, "manifest_seed": SEED, "manifest_hash": manifest.hash,
            "settings": BOTH, "thresholds": THRESHOLDS, "verdicts": verdicts, "cpu_ms_per_plan": times, "runs": runs}
    short = {name: [{**run, **{figure: mean(run[figure]) for figure in (*KINDS, "across_soon")}} for run in rows]
             for name, rows in runs.items()}
    record("stable_worldmodel", {**seen, "runs": short})
    page("stable_worldmodel", text(seen))
    return 0 if all(verdict["met"] for verdict in verdicts.values()) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="stable-worldmodel's CEM against ours, with the same learnt world model")
    parser.add_argument("store", nargs="?", type=Path, default=Path("runs/studies"), help="folder of the trained agents")
    parser.add_argument("--venv", type=Path, default=Path("runs/stable-worldmodel"), help="its virtual environment")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.argv = [argument for argument in sys.argv if argument != "--inside"]  # a page records the given command
    return inside(given.store) if given.inside else in_its_own_environment(given.venv)


if __name__ == "__main__":
    sys.exit(main())
