"""Outcome log: what became of each pair, in the run's folder as soon as its episode ends, so that a late fault costs none.

One JSON line per episode: agent, pair (its number in the manifest), kind, success, steps, return, metrics.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ami.errors import AmiError
from ami.evaluation.evaluate import Outcome

NAME = "outcomes.jsonl"


class OutcomeLog:
    """Writes outcomes; a line is one write, so that a kill leaves whole lines but perhaps the last.

    Leaving the block with an `AmiError` adds to its message where the episodes are that were finished.

    Args:
        folder: of the run.
        warn: is told once where the file cannot be written; the evaluation goes on.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn = Path(folder) / NAME, warn
        self._file: int | None = None
        self._lines = 0
        self._failed = False

    def of(self, agent: str) -> Callable[[int, Outcome], None]:
        """A function that writes what became of a pair, by its number, when an agent's episode ends."""
        return lambda number, outcome: self._append(
            {"agent": agent, "pair": number, "kind": outcome.kind, "success": outcome.success, "steps": outcome.steps,
             "return": outcome.ret, "metrics": dict(outcome.metrics)})

    def _append(self, row: dict[str, object]) -> None:
        if self._failed:
            return
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o666)
            os.write(self._file, (json.dumps(row) + "\n").encode())
            self._lines += 1
        except OSError as error:
            self._failed = True
            self._warn(f"{self._path} is not written any more: {error.strerror}. The figures are not touched by it")

    def __enter__(self) -> OutcomeLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            os.close(self._file)
        if isinstance(error, AmiError) and self._lines and len(error.args) == 1:
            outcomes = "outcome of 1 finished episode is" if self._lines == 1 else (
                f"outcomes of {self._lines} finished episodes are")
            error.args = (f"{str(error).rstrip('.')}. The {outcomes} in '{self._path}'",)
