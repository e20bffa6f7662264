"""Blocks: consecutive rows of a field, in memory or in a file that is mapped into memory."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Block(Protocol):
    """Consecutive rows of a field, which are appended until it is full.

    Attributes:
        count: the number of rows.
        room: the number of rows that still fit.
        rows: (count or more, *shape).
    """

    count: int

    @property
    def room(self) -> int: ...

    @property
    def rows(self) -> Tensor: ...

    def append(self, rows: Tensor) -> None:
        """Append rows, at most `room`."""

    def part(self, first: int, stop: int) -> Block:
        """Return the rows [first, stop) as a full block that shares them."""

    def trim(self) -> None:
        """Give back the memory of rows that can be read again from a file."""

    def free(self) -> None:
        """Delete the file of the rows, if they were written here."""


class MemoryBlock:
    """Rows in memory; pages that no row was written to take none.

    Args:
        rows: (capacity, *shape).
        count: the number of rows in use.
    """

    def __init__(self, rows: Tensor, count: int = 0) -> None:
        self._rows, self.count = rows, count

    @property
    def room(self) -> int:
        return len(self._rows) - self.count

    @property
    def rows(self) -> Tensor:
        return self._rows

    def append(self, rows: Tensor) -> None:
        self._rows[self.count:self.count + len(rows)] = rows
        self.count += len(rows)

    def part(self, first: int, stop: int) -> Block:
        return MemoryBlock(self._rows[first:stop], stop - first)

    def trim(self) -> None:
        pass

    def free(self) -> None:
        pass


class FileBlock:
    """Rows in a file, one after another without gaps. A write to a row that was read stays in memory.

    Args:
        path: the file.
        dtype: the dtype.
        shape: the shape of a row, of one byte or more.
        count: the number of rows in the file.
        capacity: the largest number of rows; by default nothing is appended.
    """

    def __init__(self, path: Path, dtype: torch.dtype, shape: tuple[int, ...], count: int = 0, capacity: int = 0) -> None:
        self.path, self.dtype, self.shape, self.count, self.capacity = path, dtype, shape, count, capacity
        self._map: mmap.mmap | None = None
        self._rows = torch.empty(0, *shape, dtype=dtype)
        if count:
            self._map_file()

    @property
    def room(self) -> int:
        return max(0, self.capacity - self.count)

    @property
    def rows(self) -> Tensor:
        if len(self._rows) < self.count:
            self._map_file()
        return self._rows

    def append(self, rows: Tensor) -> None:
        with self.path.open("ab") as file:
            file.write(as_bytes(rows).data)
        self.count += len(rows)

    def part(self, first: int, stop: int) -> Block:
        block = FileBlock(self.path, self.dtype, self.shape)
        block._rows, block.count, block._map = self.rows[first:stop], stop - first, self._map
        return block

    def trim(self) -> None:
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)

    def free(self) -> None:
        if self.capacity:
            self.path.unlink(missing_ok=True)

    def _map_file(self) -> None:
        with self.path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        size = self.dtype.itemsize * math.prod(self.shape)
        content = torch.frombuffer(self._map, dtype=torch.uint8, count=len(self._map) // size * size)
        self._rows = content.view(self.dtype).view(-1, *self.shape)


def as_bytes(rows: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the bytes of rows (n, …), in their order."""
    found: np.ndarray[Any, np.dtype[np.uint8]] = rows.detach().contiguous().flatten().view(torch.uint8).numpy()
    return found
