"""Outcome log: writes each pair's outcome to the run's folder as soon as its episode ends, so that no error loses it.

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
    """Writes outcomes; a line is one write, so that after a kill at most the last line is incomplete.

    Leaving the block with an `AmiError` adds the log's path to its message.

    Args:
        folder: folder of the run.
        warn: called once if the file cannot be written; the evaluation continues.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn = Path(folder) / NAME, warn
        self._file: int | None = None
        self._lines = 0
        self._failed = False

    def of(self, agent: str) -> Callable[[int, Outcome], None]:
        """Return a function that writes the outcome of one of the agent's pairs, by its number."""
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
            self._warn(f"{self._path} is no longer written: {error.strerror}. The figures are not affected")

    def __enter__(self) -> OutcomeLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            os.close(self._file)
        if isinstance(error, AmiError) and self._lines and len(error.args) == 1:
            outcomes = "outcome of 1 finished episode is" if self._lines == 1 else (
                f"outcomes of {self._lines} finished episodes are")
            error.args = (f"{str(error).rstrip('.')}. The {outcomes} in '{self._path}'",)
