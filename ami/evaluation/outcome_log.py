"""Outcome log: writes each pair's result to the run's folder as soon as its episode ends, so that no error loses it.

One JSON line per episode: agent, pair (its number in the manifest), kind, success, steps, return, metrics, plans,
model_steps, seconds, and failure, the reason if its environment failed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NotRequired, TypedDict

from ami.errors import AmiError, TraceError
from ami.evaluation.manifest import Manifest
from ami.evaluation.outcomes import Outcome, Result
from ami.storage.files import FileKind, write_atomically
from ami.storage.schema import Count, Line, check

NAME = "outcomes.jsonl"
_FILE = FileKind("a log of outcomes", TraceError, "run again", 1024 * 2**20)
Results = Mapping[str, Mapping[int, Result]]
"""Results by agent and number of the pair."""


Row = TypedDict("Row", {"agent": str, "pair": Count, "kind": Line, "success": bool | None, "steps": Count, "return": float,
                        "metrics": dict[str, float], "plans": Count, "model_steps": int, "seconds": float,
                        "failure": NotRequired[str]})
"""One line; `return` is no name that a class could declare."""


class OutcomeLog:
    """Writes results; a line is one write, so that after a kill at most the last line is incomplete.

    Leaving the block with an `AmiError` adds the log's path to its message, and how to resume.

    Args:
        folder: folder of the run.
        warn: called once if the file cannot be written; the evaluation continues.
        kept: earlier results, of a run that is resumed; the file begins with them.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None], kept: Results | None = None) -> None:
        self._folder, self._path, self._warn = Path(folder), Path(folder) / NAME, warn
        self._kept = {agent: dict(results) for agent, results in (kept or {}).items()}
        self._file: int | None = None
        self._failed = False
        lines = [_line(agent, number, result) for agent, results in self._kept.items()
                 for number, result in sorted(results.items())]
        self._lines = len(lines)
        if kept is not None:
            write_atomically(self._path, "".join(lines))

    def of(self, agent: str) -> Callable[[int, Result], None]:
        """Return a function that writes the result of one of the agent's pairs, by its number."""
        return lambda number, result: self._append(_line(agent, number, result))

    def finished(self, agent: str) -> Mapping[int, Result]:
        """Return the agent's earlier results, by number."""
        return self._kept.get(agent, {})

    def _append(self, line: str) -> None:
        if self._failed:
            return
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            os.write(self._file, line.encode())
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
            error.args = (f"{str(error).rstrip('.')}. The {outcomes} in '{self._path}'; "
                          f"`ami run --resume {self._folder}` continues",)


def read_results(folder: Path, manifest: Manifest) -> dict[str, dict[int, Result]]:
    """Return the results of a run by agent and number, up to a line that a kill cut off; none without a log.

    Raises:
        TraceError: a line is damaged, or names a pair that is not in the manifest.
    """
    path = Path(folder) / NAME
    try:
        *lines, _cut_off = _FILE.read_text(path, folder).split("\n")
    except FileNotFoundError:
        return {}
    found: dict[str, dict[int, Result]] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            check(row, Row)
        except ValueError as fault:  # Mismatch too
            raise _FILE.refusal(path, f"line {number}: {fault}") from None
        if row["pair"] >= len(manifest.pairs) or row["kind"] != manifest.pairs[row["pair"]]["kind"]:
            raise _FILE.refusal(path, f"line {number} names pair {row['pair']} of kind {row['kind']}: expected one of the "
                                      f"{len(manifest.pairs)} pairs of the manifest")
        outcome = Outcome(row["kind"], row["success"], row["steps"], row["return"], row["metrics"],
                          row.get("failure", ""))
        found.setdefault(row["agent"], {})[row["pair"]] = Result(outcome, row["plans"], row["model_steps"], row["seconds"])
    return found


def _line(agent: str, number: int, result: Result) -> str:
    outcome = result.outcome
    row = {"agent": agent, "pair": number, "kind": outcome.kind, "success": outcome.success, "steps": outcome.steps,
           "return": outcome.ret, "metrics": dict(outcome.metrics), "plans": result.plans,
           "model_steps": result.model_steps, "seconds": result.seconds,
           **({"failure": outcome.failure} if outcome.failure else {})}
    return json.dumps(row) + "\n"
