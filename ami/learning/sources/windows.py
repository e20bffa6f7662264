"""Windows: stretches of recorded episodes, for world models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor

from ami.data.replay_buffer import ReplayBuffer
from ami.errors import require
from ami.learning.sources.source import Draw, Source, Supply


class Windows(Source):
    """Windows of T actions and T + 1 observations: "observation" (N, T + 1, *O), "action" (N, T, A) and, if recorded,
    "reward" and "cont" (N, T).

    Args:
        length: T, the number of actions of a window.
        terminal_share: share of the windows that end at a terminal step, which are rare and informative.

    Raises:
        SettingError: a setting is out of its range.
    """

    columns: ClassVar[Sequence[str]] = ("observation", "action")

    def __init__(self, length: int = 5, terminal_share: float = 0.0) -> None:
        check_windows(type(self).__name__, length, terminal_share)
        self.length, self.terminal_share = length, terminal_share

    def open(self, supply: Supply) -> Draw:
        starts = draw_starts(supply.experience, self.length, self.terminal_share, supply.batch)
        return lambda step: supply.experience.windows(starts(), self.length)

    def shrunk(self, longest: int, episodes: int) -> Self:
        shorter = copy.copy(self)
        shorter.length = min(self.length, max(1, longest))
        return shorter

    def bytes_of(self, batch: int, sizes: Mapping[str, int], wants_pairs: bool) -> Mapping[str, int]:
        return {"batch": batch * (self.length + 1) * sizes["observation"]}


def check_windows(owner: str, length: int, terminal_share: float) -> None:
    """Raise SettingError if a length or a share is out of its range."""
    require(length >= 1, f"{owner}.length is {length}: expected 1 or more steps")
    require(0 <= terminal_share <= 1, f"{owner}.terminal_share is {terminal_share}: expected 0 to 1")


def draw_starts(experience: ReplayBuffer, length: int, terminal_share: float, batch: int) -> Callable[[], Tensor]:
    """Return a function that draws the starts (N, 2) of windows: episode and step; raises as `ReplayBuffer.starts` does."""
    starts, ends = experience.starts(length), experience.endings(length)
    from_ends = round(terminal_share * batch) if len(ends) else 0

    def draw() -> Tensor:
        drawn = [starts[torch.randint(len(starts), (batch - from_ends,))]]
        if from_ends:
            drawn.append(ends[torch.randint(len(ends), (from_ends,))])
        return torch.cat(drawn)

    return draw
