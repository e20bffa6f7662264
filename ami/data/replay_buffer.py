"""ReplayBuffer: recorded episodes, and windows of them to learn from.

An episode of n steps has n + 1 rows, one per tick; rows of all episodes follow each other without padding. The row of tick t
holds the observation, the truth, the action taken there (zeros at the last tick), and what arrived with the observation:
reward and `terminated`. Each field keeps its own dtype. Beyond a limit the rows are in files that are mapped into memory.
"""

from __future__ import annotations

import math
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ami.data.column import Column, check_rows
from ami.data.episode_folder import INDEX, EpisodeFolder
from ami.data.observations import Observations
from ami.errors import DataError, SettingError, require

OBSERVATION, ACTION, TRUTH, REWARD, TERMINATED, STEPS = "observation", "action", "truth", "reward", "terminated", "steps"
FRAMES_AT_ONCE = 1024
Episode = Mapping[str, Tensor]
"""The rows (n + 1, …) of one episode by field."""


class ReplayBuffer:
    """E episodes in order.

    Args:
        capacity: the largest number of rows; an append beyond it evicts the oldest episodes. None for no limit.
        memory: bytes of rows in memory; an append beyond it moves all rows to files in `folder`.
        folder: a folder that does not exist yet; it is deleted with the buffer. None keeps all rows in memory.

    Attributes:
        columns: the fields by name: "observation" (…, *O) and "action" (…, A) and, if recorded, "truth" (…, X), the world's
            true state for probes alone, "reward" (…) and "terminated" (…).
    """

    def __init__(self, capacity: int | None = None, memory: float = math.inf, folder: Path | None = None) -> None:
        self.capacity, self.memory, self.folder = capacity, memory, folder
        self.columns: dict[str, Column] = {}
        self._first, self._steps = _none(), _none()
        self._new: list[tuple[int, int]] = []
        self._is_read_only = False
        self._whole: ReplayBuffer | None = None  # keeps the files of a part
        self._files: EpisodeFolder | None = None
        self._delete: Callable[[], object] = lambda: None

    @classmethod
    def of_padded(cls, observation: Tensor, action: Tensor, steps: Tensor, truth: Tensor | None = None,
                  reward: Tensor | None = None, terminated: Tensor | None = None) -> ReplayBuffer:
        """Return E episodes of up to T steps, given padded.

        Args:
            observation: (E, T + 1, *O).
            action: (E, T, A); action[t] leads from observation[t] to observation[t + 1].
            steps: (E,), the number of steps of each episode.
            truth: (E, T + 1, X).
            reward, terminated: (E, T), on arriving at observation[t + 1].
        """
        buffer = cls()
        for number, count in enumerate(steps.tolist()):
            episode = {OBSERVATION: observation[number, :count + 1], ACTION: with_last(action[number, :count])}
            if truth is not None:
                episode[TRUTH] = truth[number, :count + 1]
            arrived = {REWARD: reward, TERMINATED: terminated}
            buffer.append(episode | {name: with_first(value[number, :count]) for name, value in arrived.items()
                                     if value is not None})
        return buffer

    def tensors(self) -> dict[str, Tensor]:
        """Return every field's rows (F, …) by name, and "steps" (E,)."""
        return {STEPS: self.steps, **{name: self.column(name) for name in self.columns}}

    # Filling ---------------------------------------------------------------------------------------------------------

    def append(self, episode: Episode) -> None:
        """Append one episode, n + 1 rows per field, at least one.

        Raises:
            SettingError: fields, dtypes, shapes or lengths differ from those of the episodes before.
        """
        self._check_writable()
        columns = self.columns or {name: Column(rows.dtype, tuple(rows.shape[1:])) for name, rows in episode.items()}
        rows = check_rows(columns, episode)
        self.columns = columns
        size = rows * sum(column.row_bytes for column in self.columns.values())
        if self.folder is not None and self._files is None and self.num_bytes + size > self.memory:
            self._move_to_files(self.folder)
        first = len(self.columns[OBSERVATION])
        if self._files is not None:
            self._files.append(episode)
        else:
            for name, column in self.columns.items():
                column.append(episode[name])
        self._new.append((first, rows - 1))
        self._evict()

    def reserve(self, rows: int) -> None:
        """Expect this many more rows, to store them in one block; the fields must be known."""
        for column in self.columns.values():
            column.reserve(rows)

    def extend(self, other: ReplayBuffer) -> None:
        """Append the episodes of another buffer, sharing its rows; fields that one of the two lacks are left out."""
        self._check_writable()
        if not self.num_episodes:
            self.columns = {name: Column(one.dtype, one.shape) for name, one in other.columns.items()}
        self.columns = {name: one for name, one in self.columns.items() if name in other.columns}
        if not other.num_episodes:
            return
        if self._files is not None:
            for number in range(other.num_episodes):
                self.append({name: rows for name, rows in other.episode(number).items() if name in self.columns})
            return
        start, stop = other._span
        shift = len(self.columns[OBSERVATION]) - start
        for name, column in self.columns.items():
            column.share(other.columns[name], start, stop)
        self._set(torch.cat([self.first, other.first + shift]), torch.cat([self.steps, other.steps]))
        self._evict()

    def _evict(self) -> None:
        """Drop the oldest episodes beyond the capacity, but never the newest."""
        if self.capacity is None or self.num_frames <= self.capacity:
            return
        stop = self._span[1]
        kept = (stop - self.first <= self.capacity).nonzero()[:, 0]
        oldest = int(kept[0]) if len(kept) else self.num_episodes - 1
        self._set(self.first[oldest:], self.steps[oldest:])
        for column in self.columns.values():
            column.drop(int(self.first[0]))

    # Files -----------------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path) -> ReplayBuffer:
        """Open a folder that `save` or `ami collect` wrote; rows are read when they are needed.

        Raises:
            DataError: it is no such folder, or damaged.
        """
        files = EpisodeFolder(path)
        if not files.columns:
            raise DataError(f"'{path}' holds no episodes: expected a folder with {INDEX}, as `ami collect` writes it")
        buffer, steps = cls(), torch.tensor(files.steps, dtype=torch.int64)
        buffer.columns, buffer._is_read_only = files.columns, True
        buffer._set((steps + 1).cumsum(0) - (steps + 1), steps)
        return buffer

    def save(self, path: Path) -> ReplayBuffer:
        """Write all episodes to a new folder and return the buffer that reads them from there. Rows that are in files
        already are moved if that is possible; then this buffer is empty."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._files is not None and self._files.num_episodes == self.num_episodes:
            self._files.path.rename(path)
            self._forget()
        else:
            self._write(path)
        return ReplayBuffer.open(path)

    def close(self) -> None:
        """Delete the files of this buffer, if it has its own; then it is empty."""
        self._delete()
        self._forget()

    def _forget(self) -> None:
        self.columns, self._files, self._delete = {}, None, lambda: None
        self._set(_none(), _none())

    def _move_to_files(self, folder: Path) -> None:
        self._delete = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._files = self._write(folder)
        self.columns = self._files.columns
        self._set((self.steps + 1).cumsum(0) - (self.steps + 1), self.steps)

    def _write(self, folder: Path) -> EpisodeFolder:
        files = EpisodeFolder(folder)
        files.begin({name: (column.dtype, column.shape) for name, column in self.columns.items()})
        for number in range(self.num_episodes):
            files.append(self.episode(number))
        return files

    def _check_writable(self) -> None:
        require(not self._is_read_only, "this ReplayBuffer is read-only: a part of another one, or opened from a file. "
                                        "Fix: extend a new ReplayBuffer by it")

    # Episodes --------------------------------------------------------------------------------------------------------

    @property
    def first(self) -> Tensor:
        """(E,), the number of the first row of each episode."""
        self._index()
        return self._first

    @property
    def steps(self) -> Tensor:
        """(E,), the number of steps of each episode."""
        self._index()
        return self._steps

    @property
    def num_episodes(self) -> int:
        return len(self._first) + len(self._new)

    @property
    def num_frames(self) -> int:
        """The number of observations, F."""
        start, stop = self._span
        return stop - start

    @property
    def num_bytes(self) -> int:
        """The bytes of all rows."""
        return self.num_frames * sum(column.row_bytes for column in self.columns.values())

    @property
    def mean_return(self) -> float:
        """The mean over episodes of the rewards' sum; nan if rewards were not recorded."""
        if REWARD not in self.columns or not self.num_episodes:
            return float("nan")
        return float(self.arrived(REWARD).double().sum() / self.num_episodes)

    def some(self, episodes: range) -> ReplayBuffer:
        """Return consecutive episodes as a read-only part that shares the rows."""
        part = ReplayBuffer()
        part.columns, part._is_read_only, part._whole = self.columns, True, self
        kept = slice(episodes.start, episodes.stop)
        part._set(self.first[kept], self.steps[kept])
        return part

    def part(self, episodes: int) -> ReplayBuffer:
        """Return the first `episodes` episodes as a read-only part that shares the rows."""
        return self.some(range(min(episodes, self.num_episodes)))

    def episode(self, number: int) -> dict[str, Tensor]:
        """Return the rows (n + 1, …) of an episode by field."""
        first, count = int(self.first[number]), int(self.steps[number])
        return {name: column.span(first, first + count + 1) for name, column in self.columns.items()}

    # Rows ------------------------------------------------------------------------------------------------------------

    def frames(self, at_once: int = FRAMES_AT_ONCE) -> Iterator[Tensor]:
        """Yield all observations (N, *O) in order, N = `at_once` at a time; the last may be fewer."""
        return self.columns[OBSERVATION].chunks(*self._span, at_once)

    def observations(self) -> Tensor | Observations:
        """Return all observations (F, *O): a view of memory if they are in one block of it, else to be read in parts."""
        column = self.columns[OBSERVATION]
        return column.span(*self._span) if column.is_one_block else Observations(column, *self._span)

    def column(self, name: str) -> Tensor:
        """Return all F rows of a field; a copy unless they are in one block."""
        return self.columns[name].span(*self._span)

    def arrived(self, name: str) -> Tensor:
        """Return a field on arriving at each observation but the first of an episode, (F - E, …): "reward", "terminated"."""
        is_first = torch.zeros(self.num_frames, dtype=torch.bool)
        is_first[self.first - self._span[0]] = True
        return self.column(name)[~is_first]

    def lasts(self) -> Tensor:
        """Return whether each observation is the last of its episode, (F,)."""
        last = torch.zeros(self.num_frames, dtype=torch.bool)
        last[self.first + self.steps - self._span[0]] = True
        return last

    def rows(self, name: str, index: Tensor) -> Tensor:
        """Return the rows of a field by their numbers, (*index.shape, …); `first` has each episode's first."""
        return self.columns[name].rows(index)

    # Windows ---------------------------------------------------------------------------------------------------------

    def starts(self, length: int, stride: int = 1) -> Tensor:
        """Return the start indices (episode, step) of all windows of `length` steps, (M, 2), every `stride` steps.

        Raises:
            SettingError: no episode is that long.
        """
        counts = ((self.steps - length).div(stride, rounding_mode="floor") + 1).clamp(min=0)
        if not int(counts.sum()):
            longest = int(self.steps.max()) if self.num_episodes else 0
            raise SettingError(f"a window has {length} steps, but the longest episode has {longest}. "
                               "Fix: a smaller window, or learning.collect.steps larger")
        episode = torch.arange(len(counts)).repeat_interleave(counts)
        step = torch.arange(len(episode)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        return torch.stack([episode, step * stride], dim=1)

    def endings(self, length: int) -> Tensor:
        """Return start indices (M, 2) of windows that end at a terminal step; empty if termination was not recorded."""
        if TERMINATED not in self.columns:
            return torch.zeros(0, 2, dtype=torch.int64)
        ended = self.rows(TERMINATED, self.first + self.steps) & (self.steps >= max(length, 1))
        return torch.stack([ended.nonzero()[:, 0], self.steps[ended] - length], dim=1)

    def windows(self, starts: Tensor, length: int) -> dict[str, Tensor]:
        """Return the windows that begin at `starts` (N, 2): "observation" (N, length + 1, *O), "action" (N, length, A) and,
        if recorded, "reward" (N, length), and "cont" (N, length), 0 where the episode terminated, else 1."""
        rows = (self.first[starts[:, 0]] + starts[:, 1])[:, None] + torch.arange(length + 1)
        found = {OBSERVATION: self.rows(OBSERVATION, rows), ACTION: self.rows(ACTION, rows[:, :-1])}
        if REWARD in self.columns:
            found[REWARD] = self.rows(REWARD, rows[:, 1:])
        if TERMINATED in self.columns:
            found["cont"] = 1.0 - self.rows(TERMINATED, rows[:, 1:]).float()
        return found

    # The index -------------------------------------------------------------------------------------------------------

    @property
    def _span(self) -> tuple[int, int]:
        """The numbers of the first row and of the row after the last."""
        if not self.num_episodes:
            return 0, 0
        last = self._new[-1] if self._new else (int(self._first[-1]), int(self._steps[-1]))
        return (int(self._first[0]) if len(self._first) else self._new[0][0]), last[0] + last[1] + 1

    def _index(self) -> None:
        if self._new:
            first, steps = torch.tensor(self._new).T
            self._first, self._steps = torch.cat([self._first, first]), torch.cat([self._steps, steps])
            self._new = []

    def _set(self, first: Tensor, steps: Tensor) -> None:
        self._first, self._steps, self._new = first, steps, []


def joined(parts: Sequence[ReplayBuffer], capacity: int | None = None) -> ReplayBuffer:
    """Concatenate buffers, sharing the rows of large fields; fields that one of them lacks are left out. The oldest episodes
    beyond `capacity` rows are left out."""
    if len(parts) == 1 and (capacity is None or parts[0].num_frames <= capacity):
        return parts[0]
    buffer = ReplayBuffer(capacity)
    for part in parts:
        buffer.extend(part)
    for column in buffer.columns.values():
        column.unite()
    return buffer


def with_last(rows: Tensor) -> Tensor:
    """Add a row of zeros at the end: (n, …) to (n + 1, …), for what belongs to a step, such as its action."""
    return torch.cat([rows, rows.new_zeros(1, *rows.shape[1:])])


def with_first(rows: Tensor) -> Tensor:
    """Add a row of zeros at the beginning: (n, …) to (n + 1, …), for what arrives after a step, such as its reward."""
    return torch.cat([rows.new_zeros(1, *rows.shape[1:]), rows])


def _none() -> Tensor:
    return torch.zeros(0, dtype=torch.int64)
