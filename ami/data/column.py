"""Column: the rows of one field, in its own dtype, stored in blocks so that it grows without copying."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ami.data.blocks import Block, FileBlock, MemoryBlock
from ami.errors import require

FIRST_BLOCK, MOST_BLOCK = 2**20, 2**28
"""Bytes of a column's first block and of its largest: each new block is as large as all before it together."""
MOST_RESIDENT = 2**27
"""Bytes of mapped files that a column may read before their memory is given back."""
MOST_UNITED = 2**26
"""Bytes of a column whose blocks are copied into one."""
READ_AROUND = 2**16
"""Bytes that the system maps around each place that is read."""


class Column:
    """The rows (N, *shape) of one field. Rows keep their number, from 0, also after the first ones were dropped.

    Args:
        dtype: the dtype.
        shape: the shape of one row.
        file_of: returns the file of the n-th block; None stores rows in memory.
        rows_per_file: the number of rows in each file but the last; by default as many as fit `MOST_BLOCK`.
    """

    def __init__(self, dtype: torch.dtype, shape: tuple[int, ...], file_of: Callable[[int], Path] | None = None,
                 rows_per_file: int | None = None) -> None:
        self.dtype, self.shape = dtype, tuple(shape)
        self.row_bytes = math.prod(self.shape) * dtype.itemsize
        self.file_of = file_of if self.row_bytes else None
        self.rows_per_file = rows_per_file or max(1, MOST_BLOCK // max(1, self.row_bytes))
        self._blocks: list[Block] = []
        self._starts = torch.zeros(0, dtype=torch.int64)
        self._length = self._reserved = self._num_files = 0
        self._read, self._has_files = 0, False

    def __len__(self) -> int:
        return self._length

    @property
    def num_bytes(self) -> int:
        """The bytes of the rows that are held."""
        return self.num_held * self.row_bytes

    @property
    def is_one_block(self) -> bool:
        """Whether all rows are in one block of memory, so that no view of them is a copy."""
        return len(self._blocks) == 1 and isinstance(self._blocks[0], MemoryBlock)

    # Filling ---------------------------------------------------------------------------------------------------------

    def reserve(self, rows: int) -> None:
        """Make the next block large enough for this many more rows. Memory is used only once it is written."""
        self._reserved = rows

    def append(self, rows: Tensor) -> None:
        """Append rows (n, *shape)."""
        self.check(rows)
        while len(rows):
            block = self._with_room(len(rows))
            some = min(block.room, len(rows))
            block.append(rows[:some])
            self._length += some
            rows = rows[some:]

    def add(self, rows: Tensor) -> None:
        """Append rows (n, *shape) without copying them."""
        self.check(rows)
        self._add(MemoryBlock(rows, len(rows)))

    def add_file(self, path: Path, count: int) -> None:
        """Append the rows of a file, the next one of `file_of`."""
        self._num_files += 1
        self._add(FileBlock(path, self.dtype, self.shape, count, self.rows_per_file) if self.row_bytes else
                  MemoryBlock(torch.empty(count, *self.shape, dtype=self.dtype), count))

    def share(self, other: Column, first: int, stop: int) -> None:
        """Append the rows [first, stop) of another column without copying them."""
        for start, block in other._within(first, stop):
            self._add(block.part(max(first - start, 0), min(stop - start, block.count)))

    def unite(self, most: int = MOST_UNITED) -> None:
        """Copy all rows into one block if they are in several blocks of memory and take at most `most` bytes: a window then
        costs one indexing operation instead of one per block."""
        if len(self._blocks) > 1 and not self._has_files and self.num_bytes <= most:
            rows = self.whole()
            self._blocks, self._starts = [MemoryBlock(rows, len(rows))], self._starts[:1]

    def check(self, rows: Tensor, what: str = "a row") -> None:
        """Refuse rows of another dtype or shape."""
        require(rows.dtype == self.dtype and tuple(rows.shape[1:]) == self.shape,
                f"{what} is {rows.dtype} {tuple(rows.shape[1:])}: expected {self.dtype} {self.shape}")

    def drop(self, before: int) -> None:
        """Free the blocks that only hold rows before a number."""
        while len(self._blocks) > 1 and int(self._starts[1]) <= before:
            self._blocks.pop(0).free()
            self._starts = self._starts[1:]

    # Reading ---------------------------------------------------------------------------------------------------------

    def rows(self, index: Tensor) -> Tensor:
        """Return the rows of these numbers, (*index.shape, *shape)."""
        if self.is_one_block:
            return self._blocks[0].rows[index - int(self._starts[0])]
        flat = index.flatten().contiguous()
        place = torch.bucketize(flat, self._starts, right=True) - 1
        found = torch.empty(len(flat), *self.shape, dtype=self.dtype)
        for number in place.unique().tolist():
            here = place == number
            found[here] = self._blocks[number].rows[flat[here] - int(self._starts[number])]
        if self._has_files:
            self._count(len(flat) * self.row_bytes + int((flat.diff() != 1).sum() + 1) * READ_AROUND)
        return found.view(*index.shape, *self.shape)

    def span(self, first: int, stop: int) -> Tensor:
        """Return the rows [first, stop): a view if they are in one block, else a copy."""
        self._count((stop - first) * self.row_bytes)
        parts = [block.rows[max(first - start, 0):min(stop - start, block.count)]
                 for start, block in self._within(first, stop)]
        return parts[0] if len(parts) == 1 else torch.cat([torch.empty(0, *self.shape, dtype=self.dtype), *parts])

    def chunks(self, first: int, stop: int, at_once: int) -> Iterator[Tensor]:
        """Yield the rows [first, stop) in order, `at_once` rows at a time; each is valid until the next one."""
        for start in range(first, stop, at_once):
            yield self.span(start, min(start + at_once, stop))

    def whole(self) -> Tensor:
        """Return all rows that are held: a view if they are in one block, else a copy."""
        return self.span(self._length - self.num_held, self._length)

    @property
    def num_held(self) -> int:
        """The number of rows that were not dropped."""
        return sum(block.count for block in self._blocks)

    def trim(self) -> None:
        """Give back the memory of all rows that can be read again from files."""
        self._read = 0
        for block in self._blocks:
            block.trim()

    # Blocks ----------------------------------------------------------------------------------------------------------

    def _count(self, read: int) -> None:
        """Give memory back if more was read than may stay. Rows that are read later come from the file again."""
        if self._has_files and self._read + read > MOST_RESIDENT:
            self.trim()
        self._read += read

    def _with_room(self, rows: int) -> Block:
        """Return the last block, or a new one if that is full."""
        if self._blocks and self._blocks[-1].room:
            return self._blocks[-1]
        if self.file_of is not None:
            path = self.file_of(self._num_files)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
            self.add_file(path, 0)
        else:
            held = min(max(FIRST_BLOCK, self.num_bytes), MOST_BLOCK) // max(1, self.row_bytes)
            capacity = max(rows, held, self._reserved)
            self._reserved = 0
            self._add(MemoryBlock(torch.empty(capacity, *self.shape, dtype=self.dtype)))
        return self._blocks[-1]

    def _add(self, block: Block) -> None:
        if self._blocks and not self._blocks[-1].count:  # a block that nothing was appended to
            self._blocks.pop()
            self._starts = self._starts[:-1]
        self._blocks.append(block)
        self._has_files |= isinstance(block, FileBlock)
        self._starts = torch.cat([self._starts, torch.tensor([self._length])])
        self._length += block.count

    def _within(self, first: int, stop: int) -> Iterator[tuple[int, Block]]:
        """Yield the blocks that hold the rows [first, stop), with the number of their first row."""
        for start, block in zip(self._starts.tolist(), self._blocks, strict=True):
            if start < stop and first < start + block.count:
                yield start, block


def check_rows(columns: Mapping[str, Column], episode: Mapping[str, Tensor]) -> int:
    """Return the number of rows of an episode.

    Raises:
        SettingError: it has other fields, or not the same number of rows of each, or none.
    """
    lengths = {name: len(rows) for name, rows in episode.items()}
    require(episode.keys() == columns.keys() and len(set(lengths.values())) == 1 and 0 not in lengths.values(),
            f"an episode has the fields and lengths {lengths}: expected {', '.join(columns)} of one length")
    for name, rows in episode.items():
        columns[name].check(rows, f"{name} of an episode")
    return next(iter(lengths.values()))
