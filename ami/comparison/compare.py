"""`ami compare`: every variant on the same sealed pairs, trained with the same seeds, compared with paired statistics.

    comparison's folder
    ├── comparison.json   identity of the comparison; another comparison is refused here
    ├── records/          one file per finished (variant, seed): the outcome of every pair
    ├── summary.json      every figure of the table, and more
    ├── comparison.csv    the same for a spreadsheet
    ├── comparison.png    the plot, with intervals
    └── mlflow.json       the runs in the store's mlflow.db

All variants are composed and checked before any work starts. Each variant is then trained and evaluated once per seed.
Variants with equal training settings share one training: trained agents are cached by the hash of their training settings.
The same command resumes an interrupted comparison.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ami.comparison.figures import VariantResult, figures, gain
from ami.comparison.identity import claim, identity_of, short_hash
from ami.comparison.jobs import RECORD_FILE, Job, jobs_of, work
from ami.comparison.plot import plot_comparison
from ami.comparison.table import compare_csv, compare_table
from ami.comparison.variants import Sound, Variant, check
from ami.config.settings import MOST_SEED
from ami.config.sweep import combinations
from ami.errors import SettingError, require, unknown_name
from ami.evaluation.outcomes import Evaluation, Outcome
from ami.evaluation.sheet import Sheet
from ami.storage.files import private_files, write_atomically, write_json
from ami.terminal.best_effort import best_effort
from ami.terminal.console import Console

SEEDS = (0, 1, 2)
"""Three: the smallest number that shows the variance between seeds."""
WITHOUT_EFFECT = ("runtime", "placement", "agents", "address", "trace", "evaluation.baselines", "evaluation.video")


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        folder: folder of all results.
        summary: every figure, as in summary.json.
        evaluations: the outcomes of each variant on each pair, by label and training seed.
    """

    folder: Path
    summary: dict[str, Any]
    evaluations: dict[str, dict[int, Evaluation]]

    @property
    def rows(self) -> dict[str, Any]:
        """The figures of each variant, by label; see `ami.comparison.figures.figures`."""
        variants: dict[str, Any] = self.summary["variants"]
        return variants

    @property
    def csv(self) -> Path:
        """The figures for a spreadsheet."""
        return self.folder / "comparison.csv"

    @property
    def plot(self) -> Path:
        """The figures as a plot."""
        return self.folder / "comparison.png"

    def table(self) -> Sheet:
        """Return the table that `ami compare` prints."""
        return compare_table(self.summary)


def compare(overrides: Sequence[str], *, seeds: Sequence[int] = SEEDS, against: str | None = None, parallel: int = 0,
            folder: Path | None = None, console: Console | None = None, allow: Sequence[str] = (),
            skip_refused: bool = False) -> Comparison:
    """Compare every combination of the values that the overrides give: `ami.compare(["planner=cem,none"])`.

    Args:
        overrides: as on the command line; a key with several values is swept, a key with one value is shared.
        seeds: the training seeds; each variant is trained and evaluated once per seed.
        against: the label of the reference variant, "planner=cem"; None takes the first.
        parallel: number of variants to run in parallel as Ray tasks; 0 runs them one after another in this process.
        folder: folder of the comparison, also to resume it; by default one in the store, named after the swept keys.
        console: shows progress; silent by default.
        allow: prefixes of your own packages that `_target_` may name; see `ami.config.trust`.
        skip_refused: list refused variants as rows with the reason instead of raising.

    Raises:
        SettingError: a variant is refused, nothing is swept, or the folder holds another comparison.
        UnknownName: `against` is no variant.
    """
    variants = [Variant(one.label, one.overrides, swept=one.swept) for one in combinations(overrides)]
    swept = " ".join(dict.fromkeys(key for one in variants for key in one.swept))
    return compare_variants(variants, seeds=seeds, against=against, parallel=parallel, folder=folder, console=console,
                            allow=allow, skip_refused=skip_refused, name=swept)


def compare_variants(variants: Sequence[Variant], *, seeds: Sequence[int], against: str | None, parallel: int,
                     folder: Path | None, console: Console | None, allow: Sequence[str], skip_refused: bool,
                     name: str, by_loss: bool = False) -> Comparison:
    """Compare any variants. Further arguments and errors are those of `compare`.

    Args:
        name: a part of the default folder's name.
        by_loss: sort the variants by their loss against the reference, which comes first.
    """
    console = console or Console(quiet=True)
    labels = [variant.label for variant in variants]
    if against is not None and against not in labels:
        raise unknown_name("variant", against, labels)
    require(parallel >= 0, f"--parallel is {parallel}: expected 0 or more")
    require(len(seeds) > 0 and len(set(seeds)) == len(seeds) and min(seeds) >= 0,
            f"--seeds is {', '.join(map(str, seeds)) or 'empty'}: expected different whole numbers, 0 or more")
    require(max(seeds) <= MOST_SEED, f"--seeds names {max(seeds)}: expected whole numbers from 0 to {MOST_SEED}")
    sound, refused = check(variants, seeds[0], allow, console)
    if refused and not (skip_refused and sound and against not in refused):
        reasons = "\n".join(f"  {label}: {reason.replace(chr(10), chr(10) + '    ')}" for label, reason in refused.items())
        raise SettingError(f"{len(refused)} of {len(variants)} variants are refused:\n{reasons}\n"
                           "Fix: correct or leave them out" + ", or --skip-refused" * bool(sound))
    for text in dict.fromkeys(text for one in sound for text in one.config.overrides):
        if text.lstrip("+").split("=")[0].startswith(WITHOUT_EFFECT):
            console.note(f"warning: {text} has no effect in a comparison: its variants run in this process, or, with "
                         "--parallel, as Ray tasks")
    identity = identity_of(sound, refused, seeds)
    store = Path(sound[0].config.settings.store)
    folder = Path(folder or store / f"compare_{re.sub(r'[^A-Za-z0-9.]+', '_', name)}_{short_hash(identity)}")
    with private_files():
        claim(folder, store, identity)
        jobs = jobs_of(sound, seeds, folder)
        broke_off = work(jobs, parallel, console)
        reference = against or sound[0].variant.label
        if broke_off and (not skip_refused or reference in broke_off):
            reasons = "\n".join(f"  {label}: {reason}" for label, reason in broke_off.items())
            raise SettingError(f"{len(broke_off)} of {len(variants)} variants failed:\n{reasons}\nFinished records are "
                               "kept. Fix: correct them and repeat the command, or --skip-refused")
        jobs = [job for job in jobs if job.label not in broke_off]
        return _conclude(folder, store, variants, {**refused, **broke_off}, seeds, reference, sound, jobs, console, by_loss)


def _conclude(folder: Path, store: Path, variants: Sequence[Variant], refused: Mapping[str, str], seeds: Sequence[int],
              against: str, sound: Sequence[Sound], jobs: Sequence[Job], console: Console,
              by_loss: bool) -> Comparison:
    """Create figures, table, plot and MLflow runs from the records; repeated with every command."""
    records: dict[str, dict[int, Any]] = {}
    for job in jobs:
        records.setdefault(job.label, {})[job.seed] = RECORD_FILE.read_json(job.file, folder)
    evaluations = {label: {seed: _evaluation(record["evaluation"]) for seed, record in own.items()}
                   for label, own in records.items()}
    results = {label: VariantResult(evaluations[label], {seed: record["learning_seconds"] for seed, record in own.items()},
                                    own[seeds[0]]["pairs"], own[seeds[0]]["manifest"]) for label, own in records.items()}
    found = figures(results, refused, against)
    labels = [variant.label for variant in variants]
    labels = sorted(labels, key=lambda label: gain(found[label])) if by_loss else labels
    summary = {"against": against, "seeds": list(seeds), "variants": {label: found[label] for label in labels},
               "swept": {variant.label: dict(variant.swept) for variant in variants if variant.swept},
               "overrides": {one.variant.label: list(one.variant.overrides) for one in sound}}
    done = Comparison(folder, summary, evaluations)
    write_json(folder / "summary.json", summary)
    write_atomically(done.csv, compare_csv(summary))
    console.table(done.table())
    fix = "Fix: repeat the command, which finds every record and recreates it"
    with best_effort(console, "comparison.png was not made", fix):
        plot_comparison(summary, done.plot)
    with best_effort(console, "the comparison is not in MLflow", fix):
        _store(done, store, console)
    plot = "  the plot       comparison.png\n" if done.plot.exists() else ""
    console.note(f"Everything is in {folder}\n  every figure   summary.json, comparison.csv\n{plot}"
                 "  each episode   records/")
    return done


def _evaluation(record: Mapping[str, Any]) -> Evaluation:
    return Evaluation(**{**record, "outcomes": tuple(Outcome(**outcome) for outcome in record["outcomes"])})


def _store(done: Comparison, store: Path, console: Console) -> None:
    from ami.tracking.mlflow_runs import store_family

    with console.counting("store in MLflow", 1, "") as bar:
        seeds = done.summary["seeds"]
        children = {label: {"parameters": {"overrides": " ".join(done.summary["overrides"][label]), "seeds": seeds},
                            "metrics": figure} for label, figure in done.rows.items() if not figure.get("refused")}
        store_family(done.folder, store, {"against": done.summary["against"], "seeds": seeds}, children)
        bar(1, str(store / "mlflow.db"))
