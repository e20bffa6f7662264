"""Unseen doors: which training recipe crosses the wall if every episode has its own layout?

    python benchmarks/door.py [STORE]          # about 40 minutes on one core; STORE is runs/studies

Resumes a stopped run. Writes benchmarks/results/door.json, docs/studies/door.md and door.png. The recipe is `ami run
experiment=door_random`; each variant leaves out or replaces one piece of it and learns half as long, with one training seed.
The thresholds below were fixed before the run; tuning used training seeds from 10 up and other pairs.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
import torch

sys.path.insert(0, str(Path(__file__).parent))
from door_diagnosis import FrozenAgent, critic_map, diagnose
from record import STUDIES, page, record
from study import SEED, evaluate_agent, figures, fitting, learn, manifest_of, pooled

import ami
from ami.config.compose import to_graph
from ami.evaluation.manifest import Manifest
from ami.evaluation.statistics import wilson
from ami.storage.files import write_json
from modules.world_model.factored import Factored

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SEEDS, PAIRS = (0, 1, 2), 200
RECIPE = ("experiment=door_random",)
HALF = tuple(f"learning.stages.{stage}.steps={steps}" for stage, steps in
             (("model", 2500), ("predictor", 2000), ("critic", 2500)))
ONE = ("world_model=jepa", "learning.stages.model.source.length=5", "learning.stages.model.batch=64")
VICREG = "world_model.anti_collapse={_target_: modules.world_model.anti_collapse.VICReg, smoothness: 2.0, idm: 20.0}"
CRITIC = ("cost.critics.critic.expectile=0.95", "cost.critics.critic.hindsight=0.6")
HALVED = "two parts, half the learning"
VARIANTS: dict[str, tuple[str, ...]] = {
    "one vector": ONE,
    "one vector, ten times the inverse dynamics": (*ONE, VICREG),
    "one vector, a slow copy as target": (*ONE, "world_model.anti_collapse=ema"),
    "two parts, goals not rebased": ("world_model.rebase_goals=false",),
    "two parts, short windows": ("learning.stages.model.source.length=11", "world_model.stride=3"),
    "two parts, the fixed door's critic": CRITIC,
    "two parts, predictor not taught again": ("learning.stages.predictor=null",),
    "two parts, patches that attend": ("perception=vit",),
    HALVED: (),
}
BLIND, UNTRAINED = "the surroundings of another episode", "untrained"
THRESHOLDS = {  # fixed before the run
    "same room, mean of the seeds": 0.98,
    "across, mean of the seeds": 0.85,
    "across, worst seed": 0.80,
    "CPU-seconds of learning, at most": 600.0,
    "model steps per plan, at most": 300.0,
    "across with the surroundings of another episode, at most": 0.60,
    "across untrained, at most": 0.15,
    "same room untrained, at most": 0.40,
}


@contextmanager
def blind_to_layout() -> Iterator[None]:
    """Give every state the static part of the next row, which belongs to another episode."""
    state_of = Factored.state_of

    def mistaken(self: Factored, percept: torch.Tensor) -> torch.Tensor:
        state = state_of(self, percept)
        return torch.cat([state[..., :self.static].roll(1, 0), state[..., self.static:]], dim=-1)

    Factored.state_of = mistaken  # type: ignore[method-assign]
    try:
        yield
    finally:
        Factored.state_of = state_of  # type: ignore[method-assign]


def variant(name: str, overrides: tuple[str, ...], seed: int, store: Path, manifest: Manifest,
            controls: bool) -> dict[str, Any]:
    """Train one variant and return its figures; both are cached in the store."""
    begun = time.process_time()
    trained = learn(overrides, seed, store)
    spent = trained.seconds if trained.cached else time.process_time() - begun
    file = store / "door" / f"{trained.key}-{manifest.hash}.json"
    if not file.exists():
        evaluation = evaluate_agent(overrides, trained.weights, manifest, seed)
        row = {"seed": seed, "learning_cpu_seconds": spent, "learning_wall_seconds": trained.seconds, **figures(evaluation),
               "model_steps_per_plan": evaluation.model_steps_per_plan, "wall_ms_per_decision": evaluation.ms_per_decision,
               "diagnosis": diagnose(frozen_agent_of(overrides, trained.weights, seed))}
        if controls:
            with blind_to_layout():
                row[BLIND] = figures(evaluate_agent(overrides, trained.weights, manifest, seed))
            row[UNTRAINED] = figures(evaluate_agent(overrides, {}, manifest, seed))
        write_json(file, row)
    found: dict[str, Any] = json.loads(file.read_text())
    print(f"seed {seed}  {name:44} same room {found['same_room']['success']:.3f}  across {found['across']['success']:.3f}  "
          f"{found['learning_cpu_seconds']:.0f} CPU-s", flush=True)
    return found


def frozen_agent_of(overrides: tuple[str, ...], weights: Any, seed: int) -> FrozenAgent:
    graph = to_graph(ami.compose([*overrides, f"seed={seed}", "runtime=local"]))
    return FrozenAgent(graph, fitting(graph, weights, seed))


def judged(runs: list[dict[str, Any]]) -> dict[str, tuple[float, bool]]:
    """Return each threshold's figure and whether it is met."""
    across = [run["across"]["success"] for run in runs]
    values = (mean(run["same_room"]["success"] for run in runs), mean(across), min(across),
              max(run["learning_cpu_seconds"] for run in runs), max(run["model_steps_per_plan"] for run in runs),
              mean(run[BLIND]["across"]["success"] for run in runs),
              mean(run[UNTRAINED]["across"]["success"] for run in runs),
              mean(run[UNTRAINED]["same_room"]["success"] for run in runs))
    return {name: (value, value <= limit if "at most" in name else value >= limit)
            for (name, limit), value in zip(THRESHOLDS.items(), values, strict=True)}


def interval(kind: Mapping[str, Any]) -> str:
    low, high = wilson(round(kind["success"] * kind["n"]), kind["n"])
    return f"{100 * kind['success']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def line(name: str, run: Mapping[str, Any]) -> str:
    """Return a row of the table of variants."""
    found = run["diagnosis"]
    return (f"| {name} | {interval(run['same_room'])} | {interval(run['across'])} | {found['dot R²']:.2f} | "
            f"{found['door R²']:.2f} | {100 * found['walks through the door']:.0f} / "
            f"{100 * found['walks through the wall']:.0f} | {found['rank correlation across']:.2f} | "
            f"{100 * found['solved with true motion']:.0f} | {run['learning_cpu_seconds']:.0f} |")


def meaning(tried: dict[str, dict[str, Any]], runs: list[dict[str, Any]]) -> str:
    """Return the interpretation of the table."""
    own = {name: run["diagnosis"] for name, run in tried.items()}
    parts = [run["diagnosis"] for run in runs]
    across = {name: 100 * run["across"]["success"] for name, run in tried.items()}
    return f"""* *Two parts* encode dot and door: with the recipe the static part encodes the door (R²
  {min(p['static door R²'] for p in parts):.2f} or more) and not the dot ({max(p['static dot R²'] for p in parts):.2f} or
  less), the moving part the dot ({min(p['moving dot R²'] for p in parts):.2f} or more). The separation is not complete:
  the moving part still encodes some of the door, R² {min(p['moving door R²'] for p in parts):.2f} to
  {max(p['moving door R²'] for p in parts):.2f} by seed. One vector encodes one of the two: the default recipe the door
  (dot R² {own['one vector']['dot R²']:.2f}), a slow copy as target the dot (door R²
  {own['one vector, a slow copy as target']['door R²']:.2f}).
* The separation and windows long enough to show what moves matter most: short windows cost
  {across['two parts, half the learning'] - across['two parts, short windows']:.0f} points.
* *Rebased goals*, which take the static part of the state, are worth little here:
  {across['two parts, goals not rebased']:.1f} % without them against {across['two parts, half the learning']:.1f} % with
  them, one seed each, which is within the spread of the recipe's seeds
  ({100 * min(run['across']['success'] for run in runs):.1f} to
  {100 * max(run['across']['success'] for run in runs):.1f} %).
* The data show no benefit of more learning: the same seed reaches
  {across['two parts, half the learning']:.1f} % at half of it and
  {100 * runs[0]['across']['success']:.1f} % in full."""


def text(tried: dict[str, dict[str, Any]], runs: list[dict[str, Any]], verdicts: dict[str, tuple[float, bool]]) -> str:
    rows = "\n".join(line(name, run) for name, run in tried.items())
    full = "\n".join(line(f"**two parts, in full**, seed {run['seed']}", run) for run in runs)
    thresholds = "\n".join(f"* {name}: {value:.3f}, threshold {THRESHOLDS[name]}: {'met' if met else 'missed'}"
                     for name, (value, met) in verdicts.items())
    blind, untrained = ([run[control] for run in runs] for control in (BLIND, UNTRAINED))
    return f"""# Crossing a wall with an unseen door

![Success across the wall by variant; maps of the critic for two doors](door.png)

**Question.** In `world.door=random` every episode has its own door, visible only in the picture. The test doors lie in
seven bands of the wall, 1 px each; training doors keep a distance of 0.25 px from the bands. The default recipe, made for
a fixed door, does not learn this world. Which piece is missing?

**Method.** All agents collected the same amount of experience (2,000 random episodes of 60 steps, each with its own door)
and planned with the same CEM (256 model steps per plan) on the same {PAIRS} sealed pairs of each kind. The variants
differ from the recipe `experiment=door_random` as named. They learnt with half the recipe's updates and training seed
{SEEDS[0]}; the recipe learnt in full with the seeds {", ".join(map(str, SEEDS))}. "One vector" is the JEPA of the fixed
door, with windows of 5 steps. Brackets are 95 % Wilson intervals.

Further columns compare each component with the truth for test doors. *dot*, *door*: R² of a small network that reads
their positions from the state (the dot's worse axis). *Imagined*: rollouts of 4 steps straight at the wall that end
beyond it, in per cent, within 2 px of the door's centre and 4 px or more away from it: perfect is 100 / 0. *Critic*: its
rank correlation with the true path length across the wall. *True motion*: per cent solved across if the critic chooses
among true outcomes.

| variant | same room, % | across, % | dot R² | door R² | imagined | critic | true motion | CPU-s |
|---|---|---|---|---|---|---|---|---|
{rows}
{full}

All seeds of the recipe together: same room {pooled(runs, 'same_room')}; across {pooled(runs, 'across')}. Learning took
{min(r['learning_wall_seconds'] for r in runs):.0f} to {max(r['learning_wall_seconds'] for r in runs):.0f} s of wall time; a
decision {mean(r['wall_ms_per_decision'] for r in runs):.1f} ms with 50 worlds side by side.

Negative controls, the same agents: with {BLIND} in every state, same room {pooled(blind, 'same_room')}, across
{pooled(blind, 'across')}; untrained, same room {pooled(untrained, 'same_room')}, across {pooled(untrained, 'across')}.

Thresholds fixed before the run:

{thresholds}

**Interpretation.**

{meaning(tried, runs)}

**Limits.** Each variant is one training of one seed with half the updates: differences of a few points are not
significant. The test doors lie between training doors, never beyond them. The recipe was developed in this world, with
other seeds and pairs, and it assumes that a layout stays for one episode. Two levels of planning and states made of
tokens were not tried; "patches that attend" has tokens only inside the perception.
"""


def picture(tried: dict[str, dict[str, Any]], runs: list[dict[str, Any]], agent: FrozenAgent, path: Path) -> None:
    """Plot success across the wall by variant, and maps of the critic for one goal and two test doors."""
    figure, (bars, *maps) = plt.subplots(1, 3, figsize=(14, 3.6), width_ratios=(1.4, 1, 1), layout="constrained")
    n = len(runs) * PAIRS
    shown = {name: (run["across"]["success"], run["across"]["n"]) for name, run in tried.items()}
    shown["two parts, in full (3 seeds)"] = mean(run["across"]["success"] for run in runs), n
    for place, (name, (rate, count)) in enumerate(shown.items()):
        low, high = wilson(round(rate * count), count)
        bars.barh(place, 100 * rate, color="#3b6ea5" if "full" in name else "#9db7d5")
        bars.plot([100 * low, 100 * high], [place, place], color="black")
    bars.axvline(100 * THRESHOLDS["across, mean of the seeds"], color="grey", linestyle=":")
    bars.set(yticks=range(len(shown)), yticklabels=list(shown), xlim=(0, 100), xlabel="solved across the wall, %")
    bars.invert_yaxis()
    for axes, door in zip(maps, (10.0, 22.0), strict=True):
        image = axes.imshow(critic_map(agent, door, (26.0, 16.0)), extent=(2, 30, 30, 2), cmap="viridis")
        axes.plot(26, 16, "o", color="red")
        axes.set(title=f"critic: to the red dot, door at {door:.0f}", xticks=[], yticks=[])
        figure.colorbar(image, ax=axes, shrink=0.8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> int:
    store = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/studies")
    torch.set_num_threads(1)
    manifest = manifest_of(PAIRS, *RECIPE)
    runs = [variant("two parts, in full", RECIPE, seed, store, manifest, True) for seed in SEEDS]
    tried = {name: variant(name, (*RECIPE, *HALF, *more), SEEDS[0], store, manifest, False)
             for name, more in VARIANTS.items()}
    verdicts = judged(runs)
    for name, (value, met) in verdicts.items():
        print(f"{'met   ' if met else 'MISSED'}  {name:60} {value:8.3f}   (threshold {THRESHOLDS[name]})")
    record("door", {"seeds": SEEDS, "pairs": PAIRS, "manifest_seed": SEED, "manifest_hash": manifest.hash,
                    "thresholds": THRESHOLDS, "verdicts": {n: {"value": v, "met": m} for n, (v, m) in verdicts.items()},
                    "runs": runs,
                    "ways at half the learning": {n: {"overrides": VARIANTS[n], **run} for n, run in tried.items()}})
    picture(tried, runs, frozen_agent_of(RECIPE, learn(RECIPE, SEEDS[0], store).weights, SEEDS[0]), STUDIES / "door.png")
    page("door", text(tried, runs, verdicts))
    return 0 if all(met for _, met in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
