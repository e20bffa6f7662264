"""Flat arrays: the steps of many episodes one after another, or many episodes of one length, split into episodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ami.data.recording import TRUNCATED, Array, Recording
from ami.data.replay_buffer import ACTION, OBSERVATION, REWARD, TERMINATED, TRUTH
from ami.errors import DataError
from ami.storage.limits import in_bytes, memory

LENGTHS, EPISODE = ("steps", "lengths", "episode_lengths"), ("episode", "episode_index", "episode_id", "episode_ids")
"""Names of an array with the number of steps of each episode, and of one with the episode of each step."""
SHARE = 0.5
"""The share of memory that one episode may take."""


class Rows(Protocol):
    """What a file has under a name: rows that are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


def split(path: Path, arrays: Mapping[str, Rows], names: Mapping[str, str]) -> Iterator[Recording]:
    """Yield the episodes of arrays.

    Args:
        path: the file, for messages.
        arrays: the arrays by their names in the file, with those of `LENGTHS` and `EPISODE`.
        names: the name of each field.

    Raises:
        DataError: the arrays do not fit each other.
    """
    fields = {field: arrays[name] for field, name in names.items()}
    observed, lengths = fields[OBSERVATION], next((arrays[name] for name in LENGTHS if name in arrays), None)
    count = len(fields[ACTION].shape) and fields[ACTION].shape[0] if ACTION in fields else observed.shape[0]
    ids = next((arrays[name] for name in EPISODE if name in arrays), None)
    if lengths is not None:
        yield from _by_lengths(path, fields, np.asarray(lengths[:]).astype(np.int64).ravel())
    elif ids is not None:
        changes = np.flatnonzero(np.diff(np.asarray(ids[:]).ravel())) + 1
        yield from _cut(path, fields, [*changes.tolist(), observed.shape[0]], names)
    elif _are_many(fields):
        for number in range(observed.shape[0]):
            yield Recording(f"trajectory {number}", {name: take(path, value, number, number + 1)[0]
                                                     for name, value in fields.items()})
    elif observed.shape[0] == count and (ends := _ends(fields, count)) is not None:
        yield from _cut(path, fields, ends, names)
    else:
        yield Recording("the only one", {name: take(path, value, 0, value.shape[0]) for name, value in fields.items()})


def take(path: Path, rows: Rows, start: int, stop: int) -> Array:
    """Return the rows [start, stop), if they fit into half of the memory."""
    size = (min(stop, rows.shape[0]) - start) * math.prod(rows.shape[1:]) * rows.dtype.itemsize
    if size > SHARE * memory():
        raise DataError(f"'{path}' has an episode of {in_bytes(size)}: expected at most {in_bytes(SHARE * memory())}, half "
                        "of the memory. Fix: shorter episodes")
    return np.asarray(rows[start:stop])


def _are_many(fields: Mapping[str, Rows]) -> bool:
    """Return whether the arrays are (E, T, …): rewards or flags (E, T), or actions of one step fewer than observations."""
    observed, action = fields[OBSERVATION].shape, fields[ACTION].shape if ACTION in fields else ()
    scalars = [len(fields[name].shape) == 2 and fields[name].shape[1] > 1 for name in (REWARD, TERMINATED) if name in fields]
    more = len(observed) >= 3 and len(action) >= 2 and observed[0] == action[0] and observed[1] - action[1] in (0, 1)
    return any(scalars) or (more and (len(action) == 3 or observed[1] == action[1] + 1))


def _ends(fields: Mapping[str, Rows], count: int) -> list[int] | None:
    """Return the number of the step after each episode, from flags per step; None without flags."""
    flags = [np.asarray(fields[name][:]).astype(bool).ravel() for name in (TERMINATED, TRUNCATED) if name in fields]
    if not flags or any(len(one) != count for one in flags):
        return None
    ends: list[int] = (np.flatnonzero(np.logical_or.reduce(flags)) + 1).tolist()
    return ends if ends and ends[-1] == count else [*ends, count]


def _cut(path: Path, fields: Mapping[str, Rows], ends: list[int], names: Mapping[str, str]) -> Iterator[Recording]:
    total = fields[OBSERVATION].shape[0]
    for name, value in fields.items():
        if value.shape[0] != total:
            raise DataError(f"'{path}' has {value.shape[0]:,} rows of {names[name]}, but {total:,} of {names[OBSERVATION]}: "
                            "expected as many. Fix: write one row of each per step")
    start = 0
    for end in ends:
        yield Recording(f"steps {start} to {end - 1}", {name: take(path, value, start, end)
                                                        for name, value in fields.items()})
        start = end


def _by_lengths(path: Path, fields: Mapping[str, Rows], lengths: Array) -> Iterator[Recording]:
    """Yield episodes of padded (E, T, …) or flat arrays, given the number of steps of each episode."""
    if (lengths < 0).any():
        raise DataError(f"'{path}' has an episode of {int(lengths.min())} steps: expected 0 or more")
    is_padded = all(value.shape[0] == len(lengths) for value in fields.values())
    starts = dict.fromkeys(fields, 0)
    extra = {name: _rows_more(path, name, value, lengths) if not is_padded else 0 for name, value in fields.items()}
    for number, steps in enumerate(lengths.tolist()):
        if is_padded:
            whole = {name: take(path, value, number, number + 1)[0] for name, value in fields.items()}
            full = max(len(value) for value in whole.values())
            yield Recording(f"trajectory {number}", {
                name: value[:steps + 1] if len(value) == full and name in (OBSERVATION, TRUTH) else value[:steps]
                for name, value in whole.items()})
        else:
            yield Recording(f"trajectory {number}", {
                name: take(path, value, starts[name], starts[name] + steps + extra[name]) for name, value in fields.items()})
            starts = {name: start + steps + extra[name] for name, start in starts.items()}


def _rows_more(path: Path, name: str, value: Rows, lengths: Array) -> int:
    """Return 1 for a field with one row more per episode than steps."""
    total, found = int(lengths.sum()), value.shape[0]
    if found not in (total, total + len(lengths)):
        raise DataError(f"'{path}' has {found:,} rows of {name} for {len(lengths):,} episodes of {total:,} steps in all: "
                        f"expected {total:,}, or {total + len(lengths):,} with the last observation of each")
    return int(found != total)


