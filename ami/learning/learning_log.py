"""Learning log: the learning curve in the run's folder, one JSON line per logged step, readable even after a kill -9."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from ami.errors import TraceError
from ami.storage.files import MIB, FileKind, write_atomically

NAME = "learning.jsonl"
Row = Mapping[str, float | str]
_FILE = FileKind("a learning log", TraceError, "delete it: the figures are in the checkpoint too", 256 * MIB, list[object])


class LearningLog:
    """Appends rows. A row is one write, so that a kill leaves whole lines, except perhaps the last.

    Args:
        folder: the run's folder.
        rows: rows logged before a kill, with which the file begins.
    """

    def __init__(self, folder: Path, rows: Sequence[Row] = ()) -> None:
        path = Path(folder) / NAME
        write_atomically(path, "".join(map(_line, rows)))
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def append(self, row: Row) -> None:
        """Write one row."""
        os.write(self._file, _line(row).encode())

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> LearningLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_rows(folder: Path) -> list[dict[str, float | str]]:
    """Return the rows of a run, up to a line that a kill cut off; none if the run has no log.

    Raises:
        TraceError: the file is no regular file, too large, or no text.
    """
    try:
        lines = _FILE.read_text(Path(folder) / NAME, folder).splitlines()
    except FileNotFoundError:
        return []
    rows: list[dict[str, float | str]] = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not _is_row(row):
            break
        rows.append(row)
    return rows


def _is_row(row: object) -> bool:
    return (isinstance(row, dict) and isinstance(row.get("step"), int | float) and isinstance(row.get("stage", ""), str)
            and all(isinstance(value, int | float) for name, value in row.items() if name != "stage"))


def _line(row: Row) -> str:
    return json.dumps(dict(row)) + "\n"
