"""Observations: those that are larger than memory, or in several blocks of it, to be read in parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import torch
from torch import Tensor

from ami.data.column import Column


class Observations:
    """Observations (F, *O) that stand in for a tensor where it is read in parts, `for part in observations.split(n)`.

    Args:
        column: their field.
        first, stop: the numbers of the first row and of the row after the last.

    Attributes:
        shape: (F, *O).
        dtype: their dtype.
    """

    def __init__(self, column: Column, first: int, stop: int) -> None:
        self._column, self._first, self._stop = column, first, stop
        self.shape = torch.Size((stop - first, *column.shape))
        self.dtype = column.dtype

    def __len__(self) -> int:
        return self._stop - self._first

    def split(self, at_once: int) -> Parts:
        """Return an iterable of (N, *O), N = `at_once` at a time, which may be iterated several times."""
        return Parts(self._column, self._first, self._stop, at_once)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"these {len(self):,} observations are not in one block of memory and have no '{name}'. "
                             "Fix: read them in parts, `for part in batch[\"observation\"].split(1024)`")


class Parts:
    """The observations of `Observations`, some at a time; each part is valid until the next one."""

    def __init__(self, column: Column, first: int, stop: int, at_once: int) -> None:
        self._given = column, first, stop, at_once

    def __iter__(self) -> Iterator[Tensor]:
        column, first, stop, at_once = self._given
        return column.chunks(first, stop, at_once)
