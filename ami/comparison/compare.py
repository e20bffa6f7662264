"""`ami compare`: every variant on the same sealed pairs, learnt from the same seeds, side by side with honest statistics.

    comparison's folder
    ├── comparison.json   what is compared; another comparison is refused here
    ├── records/          one whole file per finished (variant, seed): what became of every pair
    ├── summary.json      every figure of the table, and more
    ├── comparison.csv    the same for a spreadsheet
    ├── comparison.png    with intervals
    └── mlflow.json       which runs of the store's mlflow.db show all this

All variants are composed and held against their modules before any work is done. Then each variant learns and lives once per
seed. What learns alike learns once: a trained agent is found again by the hash of what it was trained with. The same command
goes on where it was stopped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ami.comparison.figures import Lived, figures, gain
from ami.comparison.identity import claim, identity_of, short_hash
from ami.comparison.jobs import RECORD_FILE, Job, jobs_of, work
from ami.comparison.plot import plot_comparison
from ami.comparison.table import compare_csv, compare_table
from ami.comparison.variants import Sound, Variant, check
from ami.config.settings import MOST_SEED
from ami.config.sweep import combinations
from ami.errors import SettingError, require, unknown_name
from ami.evaluation.evaluate import Evaluation, Outcome
from ami.evaluation.sheet import Sheet
from ami.storage.files import private_files, write_atomically, write_json
from ami.terminal.best_effort import best_effort
from ami.terminal.console import Console

SEEDS = (0, 1, 2)
"""Three: the fewest that show how much of a difference is the seed's."""
WITHOUT_EFFECT = ("runtime", "placement", "agents", "address", "trace", "evaluation.beside", "evaluation.film")


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        folder: where everything is.
        summary: every figure, as in summary.json.
        evaluations: what each variant did with each pair, by label and training seed.
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
        """The figures as a picture."""
        return self.folder / "comparison.png"

    def table(self) -> Sheet:
        """The table that `ami compare` prints."""
        return compare_table(self.summary)


def compare(overrides: Sequence[str], *, seeds: Sequence[int] = SEEDS, against: str | None = None, parallel: int = 0,
            folder: Path | None = None, console: Console | None = None, allow: Sequence[str] = (),
            skip_refused: bool = False) -> Comparison:
    """Compare every combination of the values that the overrides give: `ami.compare(["planner=cem,none"])`.

    Args:
        overrides: as on the command line; a key with several values is swept, what has one is the same for all.
        seeds: the training seeds, each variant learns and lives once per seed.
        against: the label of the variant that the others are tested against, "planner=cem"; None takes the first.
        parallel: how many variants live side by side as Ray tasks; 0 is one after another in this process.
        folder: where everything goes and where a stopped comparison goes on; by default one in the store that is named
            after what is compared.
        console: where progress is shown; by default nowhere.
        allow: prefixes of your own packages that `_target_` may name; see `ami.config.trust`.
        skip_refused: let refused variants be a row with the reason instead of an error.

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
        by_loss: sort the variants by what they lost against the reference, which comes first.
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
                           "Fix: mend or leave them out" + ", or --skip-refused" * bool(sound))
    for text in dict.fromkeys(text for one in sound for text in one.config.overrides):
        if text.lstrip("+").split("=")[0].startswith(WITHOUT_EFFECT):
            console.note(f"warning: {text} has no effect in a comparison: its variants live in this process, or, with "
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
            raise SettingError(f"{len(broke_off)} of {len(variants)} variants broke off:\n{reasons}\nWhat is finished is "
                               "kept. Fix: mend them and give the command again, or --skip-refused")
        jobs = [job for job in jobs if job.label not in broke_off]
        return _conclude(folder, store, variants, {**refused, **broke_off}, seeds, reference, sound, jobs, console, by_loss)


def _conclude(folder: Path, store: Path, variants: Sequence[Variant], refused: Mapping[str, str], seeds: Sequence[int],
              against: str, sound: Sequence[Sound], jobs: Sequence[Job], console: Console,
              by_loss: bool) -> Comparison:
    """From the records to figures, table, plot and MLflow; made anew whenever the command is given again."""
    records: dict[str, dict[int, Any]] = {}
    for job in jobs:
        records.setdefault(job.label, {})[job.seed] = RECORD_FILE.read_json(job.file, folder)
    evaluations = {label: {seed: _evaluation(record["evaluation"]) for seed, record in own.items()}
                   for label, own in records.items()}
    lived = {label: Lived(evaluations[label], {seed: record["learning_seconds"] for seed, record in own.items()},
                          own[seeds[0]]["pairs"], own[seeds[0]]["manifest"]) for label, own in records.items()}
    found = figures(lived, refused, against)
    labels = [variant.label for variant in variants]
    labels = sorted(labels, key=lambda label: gain(found[label])) if by_loss else labels
    summary = {"against": against, "seeds": list(seeds), "variants": {label: found[label] for label in labels},
               "swept": {variant.label: dict(variant.swept) for variant in variants if variant.swept},
               "overrides": {one.variant.label: list(one.variant.overrides) for one in sound}}
    done = Comparison(folder, summary, evaluations)
    write_json(folder / "summary.json", summary)
    write_atomically(done.csv, compare_csv(summary))
    console.table(done.table())
    fix = "Fix: the same command again, which finds every record and makes it anew"
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
