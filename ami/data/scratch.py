"""Scratch: rows that are computed from experience, such as states, in memory as far as they fit and else in files."""

from __future__ import annotations

import math
import shutil
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ami.data.column import Column


class Scratch:
    """A place for columns of computed rows. Its files are deleted with it.

    Args:
        memory: bytes of rows in memory, for all of its columns together.
        folder: a folder that does not exist yet, for the others; None keeps all rows in memory.
    """

    def __init__(self, memory: float = math.inf, folder: Path | None = None) -> None:
        self.memory, self.folder = memory, folder
        self._num_files = 0
        if folder is not None:
            self._delete = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def column(self, parts: Iterable[Tensor], rows: int) -> Column:
        """Return the column of parts (n, …), `rows` rows in all; each part may be freed before the next is computed."""
        made: Column | None = None
        for part in parts:
            if made is None:
                made = self._new(part, rows)
            made.append(part)
        return made if made is not None else Column(torch.float32, ())

    def close(self) -> None:
        """Delete the files; rows that are mapped stay readable as long as their column is held."""
        if self.folder is not None:
            self._delete()

    def _new(self, part: Tensor, rows: int) -> Column:
        size = rows * math.prod(part.shape[1:]) * part.element_size()
        if self.folder is None or size <= self.memory:
            self.memory -= size
            column = Column(part.dtype, tuple(part.shape[1:]))
            column.reserve(rows)
            return column
        folder, number = self.folder, self._num_files
        self._num_files += 1
        return Column(part.dtype, tuple(part.shape[1:]), lambda block: folder / f"{number}.{block:05}.bin")


def in_chunks(column: Column, at_once: int) -> Iterator[Tensor]:
    """Yield all rows of a column, `at_once` at a time."""
    return column.chunks(0, len(column), at_once)
