"""The work of a comparison: one whole record per variant and seed, one after another or side by side as Ray tasks."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from ami.comparison.variants import Sound
from ami.config.compose import Config
from ami.errors import AmiError, SettingError
from ami.evaluation.evaluate import Evaluation
from ami.learning.threads import torch_threads
from ami.session import train as training
from ami.session.run import evaluate_local, judged_graph, metrics_of, seal
from ami.storage.files import FileKind, private_files, write_json
from ami.terminal.console import Console

RECORDS, FAILED = "records", "failed"


class Record(TypedDict):
    """What became of one variant with one seed; `live` writes it."""

    seed: int
    manifest: str
    pairs: str
    learning_seconds: float
    checkpoint: str | None
    probes: dict[str, dict[str, float]]
    evaluation: Evaluation


RECORD_FILE = FileKind("a comparison's record", SettingError, "delete it: the same command makes it anew", schema=Record)


@dataclass(frozen=True)
class Job:
    """One variant with one training seed: what has to be done, and where its record goes."""

    label: str
    seed: int
    config: Config
    learner: Config
    unlearnt: tuple[str, ...]
    file: Path


def jobs_of(sound: Sequence[Sound], seeds: Sequence[int], folder: Path) -> list[Job]:
    """Seed after seed, so that a comparison that was stopped has whole rounds of all variants."""
    return [Job(one.variant.label, seed, one.config.seeded(seed), one.learner.seeded(seed), one.variant.unlearnt,
                 folder / RECORDS / f"{_file_name(one.variant.label)}.seed-{seed}.json")
            for seed in seeds for one in sound]


def _file_name(label: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9.=-]+", "_", label)[:80]
    return f"{readable}.{hashlib.sha256(label.encode()).hexdigest()[:6]}"


def work(jobs: Sequence[Job], parallel: int, console: Console) -> dict[str, str]:
    """Do what has no record yet; tells which variants broke off, and why."""
    broke_off: dict[str, str] = {}

    def keep(job: Job, record: Mapping[str, Any]) -> None:
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


def _side_by_side(jobs: Sequence[Job], parallel: int) -> Iterator[tuple[Job, dict[str, Any]]]:
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
    with private_files(), torch_threads(config.settings.learning.threads):
        trained = training.train(learner, console)
        graph = judged_graph(config)
        manifest = seal(config, graph)
        weights = {node: state for node, state in trained.weights.items() if node not in unlearnt}
        evaluation = evaluate_local(config, "pairs", graph, weights, manifest, console, metrics_of(config, graph))
    return {"seed": config.settings.seed, "manifest": manifest.hash, "pairs": manifest.pairs_hash,
            "learning_seconds": trained.seconds, "checkpoint": None if trained.file is None else str(trained.file),
            "probes": trained.probes,
            "evaluation": {**vars(evaluation), "outcomes": [outcome._asdict() for outcome in evaluation.outcomes]}}
