"""The jobs of a comparison: one record per variant and seed, run in sequence or in parallel as Ray tasks."""

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
from ami.envs.pool import pooled_environments
from ami.errors import AmiError, SettingError
from ami.evaluation.outcomes import Evaluation
from ami.learning.threads import torch_threads
from ami.session import learn as learning
from ami.session.evaluation import evaluate_local, judged_graph, metrics_of, seal
from ami.storage.files import FileKind, private_files, write_json
from ami.terminal.console import Console

RECORDS, FAILED = "records", "failed"


class Record(TypedDict):
    """The result of one variant with one seed, as returned by `run_variant`."""

    seed: int
    manifest: str
    pairs: str
    learning_seconds: float
    checkpoint: str | None
    probes: dict[str, dict[str, float]]
    evaluation: Evaluation


RECORD_FILE = FileKind("a comparison's record", SettingError, "delete it: the same command recreates it", schema=Record)


@dataclass(frozen=True)
class Job:
    """One variant with one training seed, and the file of its record."""

    label: str
    seed: int
    config: Config
    learner: Config
    untrained: tuple[str, ...]
    file: Path


def jobs_of(sound: Sequence[Sound], seeds: Sequence[int], folder: Path) -> list[Job]:
    """Return the jobs seed by seed, so that an interrupted comparison has complete seeds of all variants."""
    return [Job(one.variant.label, seed, one.config.seeded(seed), one.learner.seeded(seed), one.variant.untrained,
                 folder / RECORDS / f"{_file_name(one.variant.label)}.seed-{seed}.json")
            for seed in seeds for one in sound]


def _file_name(label: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9.=-]+", "_", label)[:80]
    return f"{readable}.{hashlib.sha256(label.encode()).hexdigest()[:6]}"


def work(jobs: Sequence[Job], parallel: int, console: Console) -> dict[str, str]:
    """Run the jobs without a record; return the reason of failure by variant."""
    broke_off: dict[str, str] = {}

    def keep(job: Job, record: Mapping[str, Any]) -> None:
        if FAILED in record:
            broke_off.setdefault(job.label, f"it failed with seed {job.seed}: {record[FAILED]}")
        else:
            write_json(job.file, record)
        bar(1, f"{job.label}, seed {job.seed}")

    waiting = [job for job in jobs if not job.file.exists()]
    if len(waiting) < len(jobs):
        console.note(f"{len(jobs) - len(waiting)} of {len(jobs)} are already finished; the others continue")
    with console.counting("compare", len(jobs), "variants × seeds") as bar:
        bar(len(jobs) - len(waiting), "")
        if parallel:
            for job, record in _side_by_side(waiting, parallel):
                keep(job, record)
            return broke_off
        for job in waiting:
            if job.label not in broke_off:
                inner = console.within(lambda text, job=job: bar(0, f"{job.label}, seed {job.seed}: {text}"))  # type: ignore[misc]
                keep(job, run_or_refuse(job.config, job.learner, job.untrained, inner))
    return broke_off


def _side_by_side(jobs: Sequence[Job], parallel: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run as Ray tasks: every shared training once, and every evaluation after its training."""
    from ami.runtime.ray_tasks import Task, run_tasks

    trainings = {number: learning.key_of(job.learner) for number, job in enumerate(jobs)}
    first = {key: number for number, key in reversed(trainings.items()) if key}
    tasks = [Task(("learn", key), learn, (jobs[number].learner,)) for key, number in first.items()]
    tasks += [Task(number, run_or_refuse, (job.config, job.learner, job.untrained), ("learn", trainings[number]))
              for number, job in enumerate(jobs)]
    address = jobs[0].config.settings.address if jobs else None
    for name, result in run_tasks(tasks, parallel, address):
        if isinstance(name, int):
            yield jobs[name], result


def learn(config: Config) -> None:
    """Train an agent, unless the store has it."""
    with contextlib.suppress(AmiError):  # the evaluation that follows raises the same error
        learning.learn(config)


def run_or_refuse(config: Config, learner: Config, untrained: Sequence[str] = (),
                console: Console | None = None) -> dict[str, Any]:
    """Return the record of `run_variant`, or the reason if the variant failed."""
    try:
        return run_variant(config, learner, untrained, console)
    except AmiError as error:
        return {FAILED: str(error)}


def run_variant(config: Config, learner: Config, untrained: Sequence[str] = (),
                console: Console | None = None) -> dict[str, Any]:
    """Run one variant with one seed: train if necessary, and evaluate every pair.

    Args:
        config: configuration of the evaluated agent.
        learner: configuration of the trained agent.
        untrained: nodes evaluated with their initial weights.
        console: shows progress; silent by default.

    Returns:
        The record, as plain values.
    """
    console = console or Console(quiet=True)
    with pooled_environments(), private_files(), torch_threads(config.settings.learning.threads):
        trained = learning.learn(learner, console)
        graph = judged_graph(config)
        manifest = seal(config, graph)
        weights = {node: state for node, state in trained.weights.items() if node not in untrained}
        evaluation = evaluate_local(config, "pairs", graph, weights, manifest, console, metrics_of(config, graph))
    return {"seed": config.settings.seed, "manifest": manifest.hash, "pairs": manifest.pairs_hash,
            "learning_seconds": trained.seconds, "checkpoint": None if trained.file is None else str(trained.file),
            "probes": trained.probes,
            "evaluation": {**vars(evaluation), "outcomes": [outcome._asdict() for outcome in evaluation.outcomes]}}
