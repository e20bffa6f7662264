"""Anti-collapse terms under two kinds of noise.

    python benchmarks/noise_collapse.py [--store runs/studies]

About half an hour on one core; resumes a stopped run. Writes benchmarks/results/noise_collapse.json and
docs/studies/noise_collapse.md. One JEPA, three anti-collapse terms, in two rooms with a television and with a floor that
flickers: `ami compare world_model.anti_collapse=vicreg,ema,sigreg world.noise=tv,background`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import page, record

import ami
from ami.comparison.compare import compare_variants
from ami.comparison.variants import Variant
from ami.session.learn import learn
from ami.terminal.console import Console

torch.set_num_threads(1)
SEEDS, PAIRS, MANIFEST_SEED = (0, 1, 2), 200, 20261125
NOISES = {"tv": "television", "background": "flickering floor"}
METHODS = ("vicreg", "ema", "sigreg")
THRESHOLDS = {  # fixed before the run
    "ema, television, same room, worst seed": 0.95,
    "ema, flickering floor, same room, worst seed": 0.95,
    "sigreg, television, same room, worst seed": 0.8,
    "sigreg, flickering floor, same room, worst seed": 0.8,
}


def overrides(noise: str, method: str, store: Path) -> tuple[str, ...]:
    return (f"store={store}", f"evaluation.pairs={PAIRS}", f"evaluation.manifest_seed={MANIFEST_SEED}",
            "evaluation.batch=100", f"world.noise={noise}", f"world_model.anti_collapse={method}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("runs/studies"))
    store = parser.parse_args().store
    found: dict[str, Any] = {}
    for noise in NOISES:
        variants = [Variant(method, overrides(noise, method, store)) for method in METHODS]
        found[noise] = compare_variants(variants, seeds=SEEDS, against=METHODS[0], parallel=0,
                                        folder=store / f"noise_collapse_{noise}", console=Console(), allow=(),
                                        skip_refused=False, name="noise_collapse").rows
    probes = {f"{method}, {noise}": probed(noise, method, store) for noise in NOISES for method in METHODS}
    values = {f"{method}, {label}, same room, worst seed": _worst(found[noise][method])
              for method in METHODS[1:] for noise, label in NOISES.items()}
    met = {name: (values[name], values[name] >= least) for name, least in THRESHOLDS.items()}
    record("noise_collapse", {"pairs": PAIRS, "seeds": SEEDS, "noises": found, "probes": probes,
                              "verdicts": {name: {"value": value, "met": ok} for name, (value, ok) in met.items()}})
    page("noise_collapse", text(found, probes, met))
    for name, (value, ok) in met.items():
        print(f"{'met   ' if ok else 'MISSED'}  {name:60} {value:.3f}   (threshold {THRESHOLDS[name]})")
    return 0 if all(ok for _, ok in met.values()) else 1


def probed(noise: str, method: str, store: Path) -> float:
    """Return the R² of a probe of the position, the mean of the seeds."""
    learnt = [learn(ami.compose([*overrides(noise, method, store), f"seed={seed}"])) for seed in SEEDS]
    return mean(one.probes["trained"]["r2"] for one in learnt)


def _worst(row: Mapping[str, Any], kind: str = "same_room") -> float:
    return min(float(seed["success"]) for seed in row["kinds"][kind]["seeds"].values())


def text(found: Mapping[str, Any], probes: Mapping[str, float], met: Mapping[str, tuple[float, bool]]) -> str:
    rows = []
    for noise, label in NOISES.items():
        for method, row in found[noise].items():
            cells = []
            for kind in ("same_room", "across"):
                figure = row["kinds"][kind]
                success, low, high = (100 * figure[name] for name in ("success", "low", "high"))
                test = figure["test"]
                p = "" if test is None else f", p {test['success']['p_holm']:.1g}"
                cells.append(f"{success:.1f} [{low:.1f}, {high:.1f}], worst {100 * _worst(row, kind):.1f}{p}")
            minutes = row["learning_seconds"] / 60
            rows.append(f"| {label} | {method} | {' | '.join(cells)} | {probes[f'{method}, {noise}']:.4f} | {minutes:.1f} |")
    verdicts = "\n".join(f"| {name} | {THRESHOLDS[name]:g} | {value:.3f} | {'met' if ok else '**missed**'} |"
                         for name, (value, ok) in met.items())
    return f"""# Noise and collapse

**Question.** In [the study of noise](noise.md) a JEPA's states encoded part of the unpredictable noise, in different
amounts. Is latent prediction the cause, or the anti-collapse term?

**Method.** The default encoder, predictor, critic and planner, in two rooms with a television (a corner that flickers)
and with a floor that flickers as a whole. Collapse is prevented by VICReg's variance and covariance terms, by targets
from a slow copy (EMA), or by SIGReg's normal projections; each with inverse dynamics. {PAIRS} sealed pairs of each
kind, {len(SEEDS)} training seeds; intervals are 95 % Wilson over all seeds, p is McNemar's test against vicreg,
Holm-corrected. R² is of a ridge probe of the true position on the frozen states.

| noise | collapse prevented by | same room, % | across, % | R² | learning, min |
|---|---|---|---|---|---|
{chr(10).join(rows)}

| threshold, fixed before the run | | measured | |
|---|---|---|---|
{verdicts}

**Interpretation.** VICReg's terms, not latent prediction, cause the encoding of noise: they require every dimension to
vary, and noise varies. With targets from a slow copy, or with SIGReg, nothing is lost, also with the television, where
the pixel twin reached 99 %. SIGReg requires spread as well; this study does not explain why it does not encode noise.

**Limits.** One value of each weight, without a search; one small world; noise that is independent between frames.
"""


if __name__ == "__main__":
    sys.exit(main())
