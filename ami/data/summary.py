"""Summary: what is in a file of episodes, in figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ami.data.replay_buffer import OBSERVATION, REWARD, TERMINATED


@dataclass
class FieldSummary:
    """One field.

    Attributes:
        dtype: its dtype's name.
        shape: the shape of a row.
        low, high: its smallest and its largest number.
        num_bytes: the bytes of all rows.
    """

    dtype: str
    shape: tuple[int, ...]
    low: float = float("inf")
    high: float = float("-inf")
    num_bytes: int = 0


@dataclass
class Summary:
    """The figures of some episodes.

    Attributes:
        fields: by name.
        steps: the number of steps of each episode.
        returns: the sum of each episode's rewards; empty if they were not recorded.
        terminated: the number of episodes that terminated; None if that was not recorded.
    """

    fields: dict[str, FieldSummary] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    terminated: int | None = None

    @property
    def num_bytes(self) -> int:
        return sum(one.num_bytes for one in self.fields.values())

    def add(self, rows: Mapping[str, Tensor]) -> None:
        """Add the rows (n + 1, …) of an episode by field."""
        self.steps.append(len(rows[OBSERVATION]) - 1)
        for name, value in rows.items():
            one = self.fields.setdefault(name, FieldSummary(str(value.dtype).removeprefix("torch."), tuple(value.shape[1:])))
            one.num_bytes += value.numel() * value.element_size()
            if value.numel():
                numbers = value.to(torch.uint8) if value.dtype == torch.bool else value
                one.low, one.high = min(one.low, float(numbers.min())), max(one.high, float(numbers.max()))
        if REWARD in rows:
            self.returns.append(float(rows[REWARD].double().sum()))
        if TERMINATED in rows:
            self.terminated = (self.terminated or 0) + bool(rows[TERMINATED].any())

    @classmethod
    def of(cls, episodes: Iterable[Mapping[str, Tensor]]) -> Summary:
        """Return the summary of episodes."""
        summary = cls()
        for rows in episodes:
            summary.add(rows)
        return summary
