"""Column: the rows of one field, in its own dtype, stored in blocks so that it grows without copying."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ami.errors import SettingError

FIRST_BLOCK, MOST_BLOCK = 2**20, 2**28
"""Bytes of a column's first block and of its largest: each new block is as large as all before it together."""


@dataclass
class Block:
    """Consecutive rows.

    Attributes:
        rows: (capacity, *shape).
        count: the number of rows in use.
    """

    rows: Tensor
    count: int


class Column:
    """The rows (N, *shape) of one field. Rows keep their number, from 0, also after the first ones were dropped.

    Args:
        dtype: the dtype.
        shape: the shape of one row.
    """

    def __init__(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = dtype, tuple(shape)
        self.row_bytes = math.prod(self.shape) * dtype.itemsize
        self._blocks: list[Block] = []
        self._starts = torch.zeros(0, dtype=torch.int64)
        self._length = 0
        self._reserved = 0

    def __len__(self) -> int:
        return self._length

    @property
    def num_bytes(self) -> int:
        """The bytes of the rows that are held."""
        return sum(block.count for block in self._blocks) * self.row_bytes

    def reserve(self, rows: int) -> None:
        """Make the next block large enough for this many more rows. Memory is used only once it is written."""
        self._reserved = rows

    def append(self, rows: Tensor) -> None:
        """Append rows (n, *shape)."""
        self._check(rows)
        if len(rows):
            block = self._with_room(len(rows))
            block.rows[block.count:block.count + len(rows)] = rows
            block.count += len(rows)
            self._length += len(rows)

    def add(self, rows: Tensor) -> None:
        """Append rows (n, *shape) without copying them."""
        self._check(rows)
        if len(rows):
            self._blocks.append(Block(rows, len(rows)))
            self._starts = torch.cat([self._starts, torch.tensor([self._length])])
            self._length += len(rows)

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows of these numbers, (*index.shape, *shape)."""
        if len(self._blocks) == 1:
            return self._blocks[0].rows[index - int(self._starts[0])]
        flat = index.flatten().contiguous()
        place = torch.bucketize(flat, self._starts, right=True) - 1
        found = torch.empty(len(flat), *self.shape, dtype=self.dtype)
        for number in place.unique().tolist():
            here = place == number
            found[here] = self._blocks[number].rows[flat[here] - int(self._starts[number])]
        return found.view(*index.shape, *self.shape)

    def span(self, first: int, stop: int) -> Tensor:
        """Return the rows [first, stop): a view if they are in one block, else a copy."""
        parts = list(self.spans(first, stop))
        return parts[0] if len(parts) == 1 else torch.cat([torch.empty(0, *self.shape, dtype=self.dtype), *parts])

    def chunks(self, first: int, stop: int, at_once: int) -> Iterator[Tensor]:
        """Yield the rows [first, stop) in order, `at_once` rows at a time."""
        for start in range(first, stop, at_once):
            yield self.span(start, min(start + at_once, stop))

    def spans(self, first: int, stop: int) -> Iterator[Tensor]:
        """Yield the rows [first, stop) in order, as views of the blocks."""
        for start, block in zip(self._starts.tolist(), self._blocks, strict=True):
            if start < stop and first < start + block.count:
                yield block.rows[max(first - start, 0):min(stop - start, block.count)]

    def drop(self, before: int) -> None:
        """Free the blocks that only hold rows before a number."""
        while len(self._blocks) > 1 and int(self._starts[1]) <= before:
            del self._blocks[0]
            self._starts = self._starts[1:]

    def _with_room(self, rows: int) -> Block:
        """Return the last block, or a new one without room in it for as many rows."""
        last = self._blocks[-1] if self._blocks else None
        if last is None or last.count + rows > len(last.rows):
            held = min(max(FIRST_BLOCK, self.num_bytes), MOST_BLOCK) // max(1, self.row_bytes)
            last = Block(torch.empty(max(rows, held, self._reserved), *self.shape, dtype=self.dtype), 0)
            self._reserved = 0
            self._blocks.append(last)
            self._starts = torch.cat([self._starts, torch.tensor([self._length])])
        return last

    def _check(self, rows: Tensor) -> None:
        if rows.dtype != self.dtype or rows.shape[1:] != self.shape:
            raise SettingError(f"a row is {rows.dtype} {tuple(rows.shape[1:])}: expected {self.dtype} {self.shape}")
