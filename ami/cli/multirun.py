"""Multirun: a failed job does not stop the others, and an interrupted sweep resumes in its folder.

    sweep folder
    ├── 0/job.json    identity and state of job 0
    └── 1/…

A job is identified by its settings, its modules' code and ami's version. A finished job is skipped; the folder of an
unfinished job is renamed, so that nothing in it is lost.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from rich import box
from rich.table import Table

from ami import __version__
from ami.comparison.identity import short_hash
from ami.config.compose import Config, to_graph
from ami.config.sweep import differing
from ami.errors import AmiError, SettingError, require
from ami.storage.files import MIB, FileKind, private_files, write_atomically, write_json
from ami.terminal.console import Console
from ami.trace.provenance import run_code

RECORD, ERROR = "job.json", "error.txt"
FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"
WAITING, EARLIER = "not started", "finished earlier"


class Record(TypedDict):
    """The state of a job in its file, in addition to its identity."""

    label: str
    state: str
    reason: str


RECORD_FILE = FileKind("what a multirun writes", SettingError, "another hydra.sweep.dir", MIB, Record)


@dataclass
class Job:
    """One job of a sweep.

    Attributes:
        label: the overrides that differ between the jobs, "planner.horizon=2 seed=1".
        folder: folder of the job.
        state: `FINISHED`, `EARLIER`, `FAILED`, `STOPPED` or `WAITING`.
        seconds: duration; None if it did not run now.
        reason: reason of a failure, in one or more lines.
    """

    label: str
    folder: Path
    state: str = WAITING
    seconds: float | None = None
    reason: str = ""


class Multirun:
    """The jobs of `ami run --multirun`, by number.

    Args:
        command: "run" or "train".
        folder: folder of the sweep.
    """

    def __init__(self, command: str, folder: Path) -> None:
        self._command, self.folder = command, folder
        self._jobs: dict[int, Job] = {}

    @property
    def is_finished(self) -> bool:
        """Whether every job is finished."""
        return all(job.state in (FINISHED, EARLIER) for job in self._jobs.values())

    def plan(self, configs: Sequence[Config], overrides: Sequence[str]) -> None:
        """Register the jobs before the first starts.

        Raises:
            SettingError: a job's folder holds another job's results.
        """
        for number, (config, label) in enumerate(zip(configs, differing(overrides), strict=True)):
            self._jobs[number] = Job(label, self.folder / str(number))
            self._is_done(self.folder / str(number), self._identity(config))

    def one(self, number: int, config: Config, folder: Path, work: Callable[[Path], None]) -> None:
        """Run a job in its folder, unless it is finished there. An error is recorded and ends this job alone."""
        job = self._jobs.setdefault(number, Job(" ".join(config.overrides), folder))
        job.folder = folder
        identity = self._identity(config)
        if self._is_done(folder, identity):
            job.state = EARLIER
            return
        if (folder / RECORD).exists():
            _set_aside(folder)
        start = time.perf_counter()
        self._note(job, identity, STOPPED)
        try:
            work(folder)
        except Exception as error:
            if isinstance(error, BrokenPipeError):
                raise  # the reader of the output has gone
            job.reason = str(error) if isinstance(error, AmiError) else f"{type(error).__name__}: {error}"
            if not isinstance(error, AmiError):
                job.reason += f" (see {folder / ERROR})"
                write_atomically(folder / ERROR, traceback.format_exc())
            self._note(job, identity, FAILED)
            Console().note(f"job {number} ({job.label}) failed: {job.reason}")
        else:
            self._note(job, identity, FINISHED)
        finally:
            job.seconds = time.perf_counter() - start

    def report(self, command: str) -> None:
        """Print the table of the jobs, the reasons of failures, and the command to resume."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, title_justify="left",
                      title=f"{len(self._jobs)} jobs in {self.folder}")
        for name in ("", "job", "state", "minutes"):
            table.add_column(name, justify="right" if name in ("", "minutes") else "left", overflow="fold")
        for number, job in sorted(self._jobs.items()):
            table.add_row(str(number), job.label, job.state, "–" if job.seconds is None else f"{job.seconds / 60:.1f}")
        console = Console()
        console.table(table)
        for number, job in sorted(self._jobs.items()):
            if job.state == FAILED:
                console.note(f"job {number} failed: {job.reason}")
        if not self.is_finished:
            console.note(f"Finished jobs are kept. To run the others: {command} hydra.sweep.dir={self.folder}")

    def _note(self, job: Job, identity: dict[str, Any], state: str) -> None:
        job.state = state
        with private_files():
            write_json(job.folder / RECORD, {**identity, "label": job.label, "state": state, "reason": job.reason})

    def _identity(self, config: Config) -> dict[str, Any]:
        return {"command": self._command, "version": __version__, "settings": short_hash(config.plain()),
                "code": short_hash(run_code(to_graph(config)))}

    @staticmethod
    def _is_done(folder: Path, identity: dict[str, Any]) -> bool:
        """Return whether this job is finished in its folder; refuse another finished job or run there."""
        if not (folder / RECORD).exists():
            require(not folder.exists() or not any(folder.iterdir()),
                    f"'{folder}' is not empty and holds no job of a multirun. Fix: another hydra.sweep.dir")
            return False
        found = RECORD_FILE.read_json(folder / RECORD, folder)
        changed = [key for key, value in identity.items() if found.get(key) != value]
        require(found["state"] != FINISHED or not changed,
                f"'{folder}' holds the finished job '{found['label']}' with other {' and '.join(changed)}. "
                "Fix: another hydra.sweep.dir, or delete that folder")
        return bool(found["state"] == FINISHED)


def _set_aside(folder: Path) -> None:
    """Rename the folder of an unfinished job: 3 → 3_unfinished_1."""
    number = 1
    while folder.with_name(f"{folder.name}_unfinished_{number}").exists():
        number += 1
    folder.rename(folder.with_name(f"{folder.name}_unfinished_{number}"))
    folder.mkdir()
