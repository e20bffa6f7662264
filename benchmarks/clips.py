"""V-JEPA beside VideoMAE and an encoder of single frames, on clips of the table top.

    python benchmarks/clips.py [--seeds 0]       # writes benchmarks/results/clips.json, docs/studies/clips.md and clips.png

Each clip shows a gripper that carries an object at a constant velocity (`clip_world.py`). Encoders of one size learn from
the clips alone with the same number of floating-point operations: V-JEPA, its targets with and without what does not move;
VideoMAE with V-JEPA's masks, its pixel counterpart; and I-JEPA on single frames (`clip_encoders.py`). They are frozen. A
linear probe of the mean token reads the velocity; *motion* classes, where the object moved (as Something-Something); and
*appearance* classes, which shape it has (as Kinetics). The velocity at checkpoints gives the operations and the time to
equal accuracy. Controls are the untrained encoder and the middle frame alone; a supervised encoder is the ceiling.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
import torch
from clip_encoders import BATCH, LEARNING_RATE, flops_per_step, frame_tokens, tokens_of, trained, untrained
from clip_report import picture, text_of
from clip_world import Clips, collected
from probes import CrossAttention, Labelled, attended, linear, ridge
from record import STUDIES, page, record
from torch import Tensor, nn
from torch.nn import functional as F

from ami.learning.schedulers import WarmUpCosine

CLIPS = {"train": 3000, "chosen": 400, "test": 800}
SEEDS = {"train": 11, "chosen": 22, "test": 33}
METHODS = ("V-JEPA", "V-JEPA, published loss", "VideoMAE", "frames alone")
PIXELS = "VideoMAE"
FEATURES = ("V-JEPA", "V-JEPA, published loss")
STEPS = 900
"""Of V-JEPA; the other trainings have as many operations."""
CHECKPOINTS = (50, 100, 200, 400, 600)
OF_CURVES = 1500
"""Training clips of the probe at a checkpoint, to save time."""
SUPERVISED = 400
ATTENTIVE: dict[str, Any] = {"steps": 200, "batch": 128, "rates": (3e-3,), "probe": CrossAttention}
DRAWS = 1000
"""Bootstrap draws of the test clips, for the interval of the ratio."""
THRESHOLDS = {"V-JEPA's R² of the velocity, at least": 0.8,
              "R² of the velocity from one frame, at most": 0.2,
              "R² of the velocity from an encoder of single frames, at most": 0.2,
              "V-JEPA's R² of the velocity above the untrained encoder's, at least": 0.1,
              "V-JEPA's motion classes above the untrained encoder's, points, at least": 5.0,
              "supervised R² of the velocity, at least": 0.95}
"""Written before the recorded run. Which of V-JEPA and VideoMAE needs fewer operations is a finding."""

Features = Callable[[Tensor], Tensor]


def r2(predicted: Tensor, truth: Tensor) -> float:
    return float((1 - (predicted - truth).square().mean(0) / truth.var(0, correction=0)).mean())


def encoded(features: Features, parts: dict[str, Clips]) -> list[Tensor]:
    return [features(clips.shown) for clips in parts.values()]


def labelled(tokens: list[Tensor], parts: dict[str, Clips], name: str) -> list[Labelled]:
    """Return the features of clips with their labels of a name; clips without a class are left out."""
    found = []
    for seen, clips in zip(tokens, parts.values(), strict=True):
        labels = getattr(clips, name)
        has = labels >= 0 if labels.ndim == 1 else slice(None)
        found.append(Labelled(seen[has], labels[has]))
    return found


def velocities(features: Features, parts: dict[str, Clips]) -> Tensor:
    """Return the velocities of the test clips that a linear probe reads, (N, 2), from fewer training clips."""
    fewer = {**parts, "train": Clips(*(values[:OF_CURVES] for values in parts["train"]))}
    return ridge(*labelled(encoded(features, fewer), fewer, "velocity"))[0]


def probed(features: Features, parts: dict[str, Clips], seed: int) -> dict[str, float]:
    """Return R² of the velocity by both probes, and the accuracies of the classes in points."""
    tokens = encoded(features, parts)
    moving, truth = labelled(tokens, parts, "velocity"), parts["test"].velocity
    return {"velocity": r2(ridge(*moving)[0], truth), "attentive": r2(attended(*moving, seed=seed, **ATTENTIVE)[0], truth),
            **{name: 100 * linear(*labelled(tokens, parts, name))[0] for name in ("motion", "appearance")}}


def supervised(seed: int, parts: dict[str, Clips]) -> dict[str, float]:
    """Train an encoder with a linear map of its mean token on the velocity: what its size allows."""
    train, test = parts["train"], parts["test"]
    encoder = untrained(seed, None, train.shown).train()
    model = nn.Linear(encoder.width, train.velocity.shape[1])
    parameters, begun = [*encoder.parameters(), *model.parameters()], time.process_time()
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.04, fused=True)
    scheduler = WarmUpCosine(optimiser, SUPERVISED, warm_up=50, final=0.01)
    torch.manual_seed(2000 + seed)
    for _ in range(SUPERVISED):
        drawn = torch.randint(len(train.shown), (BATCH,))
        loss = F.mse_loss(model(encoder.encode_clip(train.shown[drawn]).mean(1)), train.velocity[drawn])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimiser.step()
        scheduler.step()
    seconds = time.process_time() - begun
    with torch.no_grad():
        predicted = model(tokens_of(encoder.eval(), test.shown).float().mean(1))
    return {"velocity": r2(predicted, test.velocity), "cpu_seconds": seconds}


def in_order(features: Features, shown: Tensor) -> Tensor:
    """Return the mean token of each frame, in order, as one token (N, 1, f E)."""
    tokens = features(shown)
    return tokens.unflatten(1, (shown.shape[1], -1)).float().mean(2).flatten(1).unsqueeze(1)


def ratio_of(pixels: list[dict[str, Any]], features: list[dict[str, Any]], key: str, truth: Tensor
             ) -> dict[str, float] | None:
    """Return the cost of pixels over that of features to the best R² that both reach, with a 95 % interval over test clips;
    None if one of them never rises above the untrained encoder, their common start."""
    curves, places = (pixels, features), truth.numpy()
    costs = [np.array([one[key] for one in curve]) for curve in curves]
    errors = [np.stack([(one["found"] - truth).square().numpy() for one in curve]) for curve in curves]

    def ratio(rows: np.ndarray) -> tuple[float, float]:
        spread = places[rows].var(0)
        scores = [np.maximum.accumulate((1 - one[:, rows].mean(1) / spread).mean(1)) for one in errors]
        level = min(score[-1] for score in scores)
        if level <= max(score[0] for score in scores):
            return float("nan"), float(level)
        reached = [np.interp(level, score + 1e-9 * np.arange(len(cost)), cost)
                   for score, cost in zip(scores, costs, strict=True)]
        return float(reached[0] / reached[1]), float(level)

    number, rng = len(places), np.random.default_rng(0)
    found, level = ratio(np.arange(number))
    if not np.isfinite(found):
        return None
    drawn = np.array([ratio(rng.integers(number, size=number))[0] for _ in range(DRAWS)])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"ratio": found, "low": float(low), "high": float(high), "level": level,
            "draws_above_the_start": float(np.isfinite(drawn).mean())}


def figures_of(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return what the thresholds are for, means over the seeds."""
    def over(name: str, probe: str = "velocity") -> float:
        return float(np.mean([run[name][probe] for run in runs]))

    values = [over("V-JEPA"), over("one frame"), over("frames alone"), over("V-JEPA") - over("untrained"),
              over("V-JEPA", "motion") - over("untrained", "motion"), over("supervised")]
    return dict(zip(THRESHOLDS, values, strict=True))


def run_of(seed: int, parts: dict[str, Clips], flops: dict[str, float]) -> dict[str, Any]:
    """Train and probe all encoders of a seed."""
    shown, truth = parts["train"].shown, parts["test"].velocity
    run: dict[str, Any] = {"seed": seed, "supervised": supervised(seed, parts)}
    print("supervised", run["supervised"], flush=True)
    start = untrained(seed, None, shown)
    run["untrained"] = probed(lambda clips: tokens_of(start, clips), parts, seed)
    print("untrained", run["untrained"], flush=True)
    begins = {"step": 0, "flops": 0.0, "cpu_seconds": 0.0, "found": velocities(lambda clips: tokens_of(start, clips), parts)}
    curves = {}
    for name in METHODS:
        steps = round(STEPS * flops["V-JEPA"] / flops[name])
        vit, learnt = trained(name, seed, steps, shown, (*CHECKPOINTS, steps) if name != "frames alone" else (),
                              lambda vit: velocities(lambda clips: tokens_of(vit, clips), parts))
        run[name] = {**probed(lambda clips, vit=vit: tokens_of(vit, clips), parts, seed), **learnt}
        if name == "V-JEPA":
            run["one frame"] = probed(lambda clips, vit=vit: frame_tokens(vit, clips), parts, seed)
        if name == "frames alone":
            read = velocities(lambda clips, vit=vit: in_order(lambda seen: tokens_of(vit, seen), clips), parts)
            run["frames in order"] = {"velocity": r2(read, truth)}
        measured = run[name].pop("curve")
        if name == "frames alone":
            continue
        curves[name] = [begins, *({**one, "flops": one["step"] * flops[name]} for one in measured)]
        run[name]["curve"] = [{**{key: one[key] for key in ("step", "flops", "cpu_seconds")},
                               "velocity": r2(one["found"], truth)} for one in curves[name]]
        print(name, run[name], flush=True)
    run["ratio"] = {name: {key: ratio_of(curves[PIXELS], curves[name], key, truth) for key in ("flops", "cpu_seconds")}
                    for name in FEATURES}
    return run


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0")
    seeds = [int(seed) for seed in parser.parse_args().seeds.split(",")]
    torch.set_num_threads(1)
    parts = {name: collected(count, SEEDS[name]) for name, count in CLIPS.items()}
    flops = {name: flops_per_step(name, parts["train"].shown) for name in METHODS}
    print({name: f"{value / 1e9:.2f} GFLOP a step" for name, value in flops.items()}, flush=True)
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        runs.append(run_of(seed, parts, flops))
        figures = figures_of(runs)
        met = {name: value >= THRESHOLDS[name] if "at least" in name else value <= THRESHOLDS[name]
               for name, value in figures.items()}
        # after every seed, so that a stopped run leaves the finished ones
        record("clips", {"seeds": seeds[:len(runs)], "flops_per_step": flops, "thresholds": THRESHOLDS, "figures": figures,
                         "met": met, "clips": CLIPS, "runs": runs})
        picture(runs, STUDIES / "clips.png")
        page("clips", text_of(runs, flops, THRESHOLDS, figures, met))
    for name, value in figures.items():
        print(f"{'met   ' if met[name] else 'MISSED'} {name:76} {value:.2f}   (threshold {THRESHOLDS[name]})")
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
