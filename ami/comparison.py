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

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from ami import training
from ami.config import Config, compose
from ami.console import Console
from ami.errors import AmiError, SettingError, require, unknown_name
from ami.evaluation.compare_table import compare_csv, compare_table
from ami.evaluation.comparing import Lived, figures, gain
from ami.evaluation.evaluate import Evaluation, Outcome
from ami.evaluation.manifest import Manifest
from ami.evaluation.plots import plot_comparison
from ami.files import check_folder, private_files, write_atomically, write_json
from ami.graph import Graph
from ami.job import evaluate_local, judged_graph, seal, try_out
from ami.sweep import combinations

SEEDS = (0, 1, 2)
"""Three: the fewest that show how much of a difference is the seed's."""
IDENTITY, RECORDS = "comparison.json", "records"
FORMAT, FAILED = 1, "failed"
SHOWN_DIFFERENCES = 3
WITHOUT_EFFECT = ("runtime", "placement", "agents", "address", "trace", "evaluation.beside", "evaluation.film")


@dataclass(frozen=True)
class Variant:
    """One of those that are compared.

    Attributes:
        label: names it in the table.
        overrides: of the agent that lives.
        learner: of the agent that learns, whose weights the other one lives with; None when both are the same.
        unlearnt: the nodes that live with their initial weights in spite of what was learnt.
    """

    label: str
    overrides: tuple[str, ...]
    learner: tuple[str, ...] | None = None
    unlearnt: tuple[str, ...] = ()


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
        """The figures of each variant, by label; see `ami.evaluation.comparing.figures`."""
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

    def table(self) -> Table:
        """The table that `ami compare` prints."""
        return compare_table(self.summary)


@dataclass(frozen=True)
class _Sound:
    """A variant that may begin: it composes, its graph is sound, and it lived two ticks."""

    variant: Variant
    config: Config
    learner: Config
    graph: Graph
    manifest: Manifest


@dataclass(frozen=True)
class _Job:
    """One variant with one training seed: what has to be done, and where its record goes."""

    label: str
    seed: int
    config: Config
    learner: Config
    unlearnt: tuple[str, ...]
    file: Path


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
        allow: prefixes of your own packages that `_target_` may name; see `ami.trust`.
        skip_refused: let refused variants be a row with the reason instead of an error.

    Raises:
        SettingError: a variant is refused, nothing is swept, or the folder holds another comparison.
        UnknownName: `against` is no variant.
    """
    variants = [Variant(one.label, one.overrides) for one in combinations(overrides)]
    swept = " ".join(dict.fromkeys(word.split("=")[0] for one in variants for word in one.label.split(" ") if "=" in word))
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
    sound, refused = _check(variants, seeds[0], allow, console)
    if refused and not (skip_refused and sound and against not in refused):
        reasons = "\n".join(f"  {label}: {reason.replace(chr(10), chr(10) + '    ')}" for label, reason in refused.items())
        raise SettingError(f"{len(refused)} of {len(variants)} variants are refused:\n{reasons}\n"
                           "Cure: mend or leave them out" + ", or --skip-refused" * bool(sound))
    for text in dict.fromkeys(text for one in sound for text in one.config.overrides):
        if text.lstrip("+").split("=")[0].startswith(WITHOUT_EFFECT):
            console.note(f"warning: {text} has no effect in a comparison: its variants live in this process, or, with "
                         "--parallel, as Ray tasks")
    identity = _identity(sound, refused, seeds)
    store = Path(sound[0].config.settings.store)
    folder = Path(folder or store / f"compare_{re.sub(r'[^A-Za-z0-9.]+', '_', name)}_{_hash(identity)}")
    with private_files():
        _claim(folder, store, identity)
        jobs = _jobs(sound, seeds, folder)
        broke_off = _work(jobs, parallel, console)
        reference = against or sound[0].variant.label
        if broke_off and (not skip_refused or reference in broke_off):
            reasons = "\n".join(f"  {label}: {reason}" for label, reason in broke_off.items())
            raise SettingError(f"{len(broke_off)} of {len(variants)} variants broke off:\n{reasons}\nWhat is finished is "
                               "kept. Cure: mend them and give the command again, or --skip-refused")
        jobs = [job for job in jobs if job.label not in broke_off]
        return _conclude(folder, store, labels, {**refused, **broke_off}, seeds, reference, sound, jobs, console, by_loss)


# Before any work ------------------------------------------------------------------------------------------------------


def _check(variants: Sequence[Variant], seed: int, allow: Sequence[str],
           console: Console) -> tuple[list[_Sound], dict[str, str]]:
    """Those that may begin, and why the others may not."""
    sound: list[_Sound] = []
    refused: dict[str, str] = {}
    with console.counting("check", len(variants), "variants") as bar:
        for variant in variants:
            bar(0, variant.label)
            try:
                sound.append(_sound(variant, seed, allow))
            except AmiError as error:
                refused[variant.label] = str(error)
            bar(1, "variants")
    return sound, refused


def _sound(variant: Variant, seed: int, allow: Sequence[str]) -> _Sound:
    for text in variant.overrides:
        require(not text.lstrip("+").startswith("seed="),
                f"'{text}': every variant learns from the same seeds. Cure: --seeds 0,1,2")
    config = compose(variant.overrides, allow=allow).seeded(seed)
    learner = config if variant.learner is None else compose(variant.learner, allow=allow).seeded(seed)
    graph = judged_graph(config)
    training.check(learner)
    manifest = seal(config, graph)
    try_out(graph, seed, manifest)
    return _Sound(variant, config, learner, graph, manifest)


def _identity(sound: Sequence[_Sound], refused: Mapping[str, str], seeds: Sequence[int]) -> dict[str, Any]:
    """All that the figures depend on: what a folder has to hold for a comparison to go on there."""
    variants: dict[str, Any] = {}
    for one in sound:
        learner = judged_graph(one.learner) if one.variant.learner is not None else one.graph
        variants[one.variant.label] = {
            "agent": one.graph.describe(),
            "learner": learner.describe() if learner is not one.graph else None,
            "learning": one.learner.plain()["learning"],
            "checkpoint": one.learner.settings.checkpoint,
            "unlearnt": list(one.variant.unlearnt),
            "code": training.sources(one.graph, one.graph.order),
            "manifest": one.manifest.hash,
        }
    identity = {"format": FORMAT, "seeds": list(seeds), "variants": variants, "refused": sorted(refused)}
    plain: dict[str, Any] = json.loads(json.dumps(identity, default=str))
    return plain


def _claim(folder: Path, store: Path, identity: Mapping[str, Any]) -> None:
    """Begin a comparison in this folder, or find the same one begun; another one, or a run, is refused.

    Raises:
        SettingError: names the differences.
    """
    for place, what in ((folder, "the comparison's folder"), (store, "store")):
        check_folder(place, what)
    try:
        found = json.loads((folder / IDENTITY).read_text())
    except FileNotFoundError:
        require(not folder.exists() or not any(folder.iterdir()),
                f"'{folder}' is not empty and holds no comparison. Cure: another --folder")
        write_json(folder / IDENTITY, identity)
        return
    except json.JSONDecodeError:
        raise SettingError(f"'{folder / IDENTITY}' is not what a comparison writes. Cure: another --folder") from None
    changed = list(_differences(found, identity))
    if changed:
        more = f" and {len(changed) - SHOWN_DIFFERENCES} more" if len(changed) > SHOWN_DIFFERENCES else ""
        raise SettingError(f"'{folder}' holds another comparison: {'; '.join(changed[:SHOWN_DIFFERENCES])}{more}. "
                           "Cure: another --folder, or delete it")


def _differences(then: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*then, *now]):
            inner = f"{path}: {key}" if path == "variants" else f"{path}.{key}" if path else str(key)
            if key not in now:
                yield f"it has {inner.removeprefix('variants: ')}, which is not asked for now"
            elif key not in then:
                yield f"it has no {inner.removeprefix('variants: ')}"
            else:
                yield from _differences(then[key], now[key], inner)
    elif then != now:
        what = path.removeprefix("variants: ")
        yield (f"the code of {what.removesuffix('.code')} was changed" if path.endswith(".code") else
               f"{what} was {_short(then)} and is now {_short(now)}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


# The work -------------------------------------------------------------------------------------------------------------


def _jobs(sound: Sequence[_Sound], seeds: Sequence[int], folder: Path) -> list[_Job]:
    """Seed after seed, so that a comparison that was stopped has whole rounds of all variants."""
    return [_Job(one.variant.label, seed, one.config.seeded(seed), one.learner.seeded(seed), one.variant.unlearnt,
                 folder / RECORDS / f"{_file_name(one.variant.label)}.seed-{seed}.json")
            for seed in seeds for one in sound]


def _file_name(label: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9.=-]+", "_", label)[:80]
    return f"{readable}.{hashlib.sha256(label.encode()).hexdigest()[:6]}"


def _work(jobs: Sequence[_Job], parallel: int, console: Console) -> dict[str, str]:
    """Do what has no record yet; tells which variants broke off, and why."""
    broke_off: dict[str, str] = {}

    def keep(job: _Job, record: Mapping[str, Any]) -> None:
        if FAILED in record:
            broke_off.setdefault(job.label, f"it broke off with seed {job.seed}: {record[FAILED]}")
        else:
            write_json(job.file, record)
        bar(1, f"{job.label}, seed {job.seed}")

    waiting = [job for job in jobs if not job.file.exists()]
    if len(waiting) < len(jobs):
        console.note(f"{len(jobs) - len(waiting)} of {len(jobs)} are finished already, the others go on")
    with console.counting("compare", len(jobs), "variants × seeds") as bar:
        bar(len(jobs) - len(waiting), "")
        if parallel:
            for job, record in _side_by_side(waiting, parallel):
                keep(job, record)
            return broke_off
        for job in waiting:
            if job.label not in broke_off:
                inner = console.within(lambda text, job=job: bar(0, f"{job.label}, seed {job.seed}: {text}"))  # type: ignore[misc]
                keep(job, live_or_say(job.config, job.learner, job.unlearnt, inner))
    return broke_off


def _side_by_side(jobs: Sequence[_Job], parallel: int) -> Iterator[tuple[_Job, dict[str, Any]]]:
    """As Ray tasks: first every training that several may share, once, then every life after its own training."""
    from ami.runtime.ray_tasks import Task, run_tasks

    trainings = {number: training.key_of(job.learner) for number, job in enumerate(jobs)}
    first = {key: number for number, key in reversed(trainings.items()) if key}
    tasks = [Task(("learn", key), learn, (jobs[number].learner,)) for key, number in first.items()]
    tasks += [Task(number, live_or_say, (job.config, job.learner, job.unlearnt), ("learn", trainings[number]))
              for number, job in enumerate(jobs)]
    address = jobs[0].config.settings.address if jobs else None
    for name, result in run_tasks(tasks, parallel, address):
        if isinstance(name, int):
            yield jobs[name], result


def learn(config: Config) -> None:
    """Train an agent, or find it trained; it is in the store then."""
    with contextlib.suppress(AmiError):  # the life that follows meets the same error, and tells it
        training.train(config)


def live_or_say(config: Config, learner: Config, unlearnt: Sequence[str] = (),
                console: Console | None = None) -> dict[str, Any]:
    """The record of `live`, or, where the variant broke off, the reason in its place."""
    try:
        return live(config, learner, unlearnt, console)
    except AmiError as error:
        return {FAILED: str(error)}


def live(config: Config, learner: Config, unlearnt: Sequence[str] = (), console: Console | None = None) -> dict[str, Any]:
    """One variant with one seed: learn if need be, live every pair, and tell what became of them.

    Args:
        config: of the agent that lives.
        learner: of the agent that learns.
        unlearnt: nodes that live with their initial weights.
        console: where progress is shown; by default nowhere.

    Returns:
        The record, as plain values.
    """
    console = console or Console(quiet=True)
    with private_files():
        trained = training.train(learner, console)
        graph = judged_graph(config)
        manifest = seal(config, graph)
        weights = {node: state for node, state in trained.weights.items() if node not in unlearnt}
        evaluation = evaluate_local(config, "pairs", graph, weights, manifest, console)
    return {"seed": config.settings.seed, "manifest": manifest.hash, "pairs": manifest.pairs_hash,
            "learning_seconds": trained.seconds, "checkpoint": None if trained.file is None else str(trained.file),
            "probes": trained.probes,
            "evaluation": {**vars(evaluation), "outcomes": [outcome._asdict() for outcome in evaluation.outcomes]}}


# After the work -------------------------------------------------------------------------------------------------------


def _conclude(folder: Path, store: Path, labels: Sequence[str], refused: Mapping[str, str], seeds: Sequence[int],
              against: str, sound: Sequence[_Sound], jobs: Sequence[_Job], console: Console,
              by_loss: bool) -> Comparison:
    """From the records to figures, table, plot and MLflow; made anew whenever the command is given again."""
    records: dict[str, dict[int, Any]] = {}
    for job in jobs:
        records.setdefault(job.label, {})[job.seed] = json.loads(job.file.read_text())
    evaluations = {label: {seed: _evaluation(record["evaluation"]) for seed, record in own.items()}
                   for label, own in records.items()}
    lived = {label: Lived(evaluations[label], {seed: record["learning_seconds"] for seed, record in own.items()},
                          own[seeds[0]]["pairs"], own[seeds[0]]["manifest"]) for label, own in records.items()}
    found = figures(lived, refused, against)
    labels = sorted(labels, key=lambda label: gain(found[label])) if by_loss else labels
    summary = {"against": against, "seeds": list(seeds), "variants": {label: found[label] for label in labels},
               "overrides": {one.variant.label: list(one.variant.overrides) for one in sound}}
    done = Comparison(folder, summary, evaluations)
    write_json(folder / "summary.json", summary)
    write_atomically(done.csv, compare_csv(summary))
    plot_comparison(summary, done.plot)
    console.table(done.table())
    _store(done, store, console)
    console.note(f"Everything is in {folder}\n  every figure   summary.json, comparison.csv\n"
                 "  the plot       comparison.png\n  each episode   records/")
    return done


def _evaluation(record: Mapping[str, Any]) -> Evaluation:
    return Evaluation(**{**record, "outcomes": tuple(Outcome(**outcome) for outcome in record["outcomes"])})


def _store(done: Comparison, store: Path, console: Console) -> None:
    from ami.tracing.mlflow_store import store_family

    with console.counting("store in MLflow", 1, "") as bar:
        seeds = done.summary["seeds"]
        children = {label: {"parameters": {"overrides": " ".join(done.summary["overrides"][label]), "seeds": seeds},
                            "metrics": figure} for label, figure in done.rows.items() if not figure.get("refused")}
        store_family(done.folder, store, {"against": done.summary["against"], "seeds": seeds}, children)
        bar(1, str(store / "mlflow.db"))
