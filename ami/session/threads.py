"""The number of threads for training with `learning.threads=auto`: measured once, then read from the store.

The weights depend on the number, so the configuration that learns holds the number itself, as do the keys of its training.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

from ami.config.compose import Config, to_graph
from ami.errors import CheckpointError
from ami.learning.threads import torch_threads
from ami.session.dry_run import step_seconds
from ami.session.experts import experts_of
from ami.session.plan import TrainingPlan
from ami.storage.files import FileKind, check_folder, write_json
from ami.terminal.console import Console

AUTO = "auto"
STEPS, BLOCKS = 6, 2
"""Steps per block, and alternating blocks per number of threads; the shortest step counts."""


class Choice(TypedDict):
    """A recorded choice: the number of threads, and the seconds per step by number of threads."""

    threads: int
    seconds: dict[str, float]


CHOICE_FILE = FileKind("a recorded number of threads", CheckpointError, "delete it: the number is then measured again",
                       schema=Choice)


def with_threads(config: Config, console: Console) -> Config:
    """Return the config with a number in place of `learning.threads=auto`; the same config if it has a number.

    The first call measures steps of the first stage with one thread and with all cores, and records the faster number in
    the store, under the key of the first stage; later calls read it. Without learning the number is 1.

    Raises:
        GraphError, SettingError, UnknownName: the config is invalid or cannot learn.
        CheckpointError: the store is not writable, or its record is damaged.
    """
    if config.settings.learning.threads != AUTO:
        return config
    plan = None if config.settings.checkpoint is not None else TrainingPlan.of(config, to_graph(config))
    if plan is None:
        return config.with_threads(1)
    file = Path(config.settings.store) / "trained" / "threads" / f"{plan.schedule[1].key}.json"
    try:
        choice: Choice = CHOICE_FILE.read_json(file, file.parent)
        source = "as measured before"
    except FileNotFoundError:
        choice, source = _measured(plan), "measured now"
        check_folder(file.parent, "store")
        write_json(file, choice)
    times = ", ".join(f"{1e3 * seconds:.1f} ms with {count}" for count, seconds in choice["seconds"].items())
    console.note(f"learning.threads=auto is {choice['threads']}: a step of the stage {plan.stages[0].name} takes {times} "
                 f"({source})")
    return config.with_threads(choice["threads"])


def _measured(plan: TrainingPlan) -> Choice:
    counts, experts = sorted({1, cores()}), experts_of(plan)
    seconds = dict.fromkeys(counts, float("inf"))
    for _ in range(BLOCKS):
        for count in counts:
            with torch_threads(count):
                seconds[count] = min(seconds[count], step_seconds(plan, experts, STEPS))
    return {"threads": min(counts, key=lambda count: seconds[count]),
            "seconds": {str(count): value for count, value in seconds.items()}}


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
