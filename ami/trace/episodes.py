"""The episodes of a run that recorded its world's messages (trace.level=boundary or full), as data to learn from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from ami.data.read import Data
from ami.data.recording import ActionCode, check_finite
from ami.data.replay_buffer import ACTION, OBSERVATION, REWARD, TERMINATED, TRUTH
from ami.errors import DataError
from ami.trace.header import NAME as HEADER
from ami.trace.reader import Trace
from ami.trace.roles import Roles

EPISODE = "episode"
Read = Callable[[str, str, int, int], Tensor]


class RunData(Data):
    """The episodes of a run's folder."""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return the episodes of a run.

        Raises:
            TraceError: the folder holds no trace, or only hashes and statistics.
            DataError: it has no single world, or no number of episodes.
        """
        return cls(Path(folder), "trace", {}, ActionCode())

    @staticmethod
    def fits(path: Path) -> bool:
        """Return whether a path is a run's folder."""
        return (Path(path) / HEADER).is_file()

    @property
    def key(self) -> str:
        return hashlib.sha256(self._trace.digest().encode()).hexdigest()[:16]

    def episodes(self) -> Iterator[dict[str, Tensor]]:
        for number, rows in enumerate(self._episodes()):
            check_finite(self.path, number, rows)
            yield rows

    @cached_property
    def _trace(self) -> Trace:
        return Trace.open(self.path)

    def _episodes(self) -> Iterator[dict[str, Tensor]]:
        trace, roles = self._trace, Roles(self._trace.header)
        if len(roles.actions) != 1 or EPISODE not in trace.ports.get(roles.world, {}):
            raise DataError(f"'{self.path}' has {len(roles.actions)} actions that go to its worlds: expected one world that "
                            "sends `episode`. Fix: record the run again with this version")
        (action,) = roles.actions
        sender, _, port = action.partition(".")
        fields = {name: (roles.world, name) for name in (OBSERVATION, TRUTH, REWARD, TERMINATED)} | {ACTION: (sender, port)}
        for wave, ticks in trace.waves.items():
            number = [trace.message(roles.world, EPISODE, wave, tick) for tick in range(ticks)]
            columns = {name: torch.stack([trace.message(*place, wave, tick) for tick in range(ticks)])
                       for name, place in fields.items()}
            for row, rows in _rows_of(torch.stack(number)):
                episode = {name: column[rows, row].clone() for name, column in columns.items()}
                episode[ACTION][-1] = 0
                episode[REWARD][0] = 0
                yield episode


def _rows_of(numbers: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield the row and the ticks of every episode, given the number of each row's episode by tick (T, B); -1 is none."""
    for row, column in enumerate(numbers.T):
        starts = [0, *((column[1:] != column[:-1]).nonzero()[:, 0] + 1).tolist(), len(column)]
        for start, stop in pairwise(starts):
            if int(column[start]) >= 0 and stop - start > 1:
                yield row, slice(start, stop)
