"""Windows: stretches of recorded episodes, for world models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Tensor

from ami.errors import require
from ami.learning.sources.source import Draw, Source, Supply


class Windows(Source):
    """Windows of T actions and T + 1 observations: "observation" (N, T + 1, *O), "action" (N, T, A) and, if recorded,
    "reward" and "cont" (N, T).

    Args:
        length: T, the number of actions of a window.
        terminal_share: share of the windows that end at a terminal step, which are rare and informative.
        stride: steps between the starts of two windows of an episode.

    Raises:
        SettingError: a setting is out of its range.
    """


    def __init__(self, length: int = 5, terminal_share: float = 0.0, stride: int = 1) -> None:
        owner = type(self).__name__
        require(length >= 1, f"{owner}.length is {length}: expected 1 or more steps")
        require(0 <= terminal_share <= 1, f"{owner}.terminal_share is {terminal_share}: expected 0 to 1")
        require(stride >= 1, f"{owner}.stride is {stride}: expected 1 or more steps")
        self.length, self.terminal_share, self.stride = length, terminal_share, stride

    def open(self, supply: Supply) -> Draw:
        starts = self.draw_starts(supply)
        return lambda step: supply.experience.windows(starts(), self.length)

    def shrunk(self, longest: int, episodes: int) -> Self:
        shorter = copy.copy(self)
        shorter.length = min(self.length, max(1, longest))
        return shorter

    def bytes_of(self, batch: int, sizes: Mapping[str, int], wants_pairs: bool) -> Mapping[str, int]:
        return {"batch": batch * (self.length + 1) * sizes["observation"]}

    def draw_starts(self, supply: Supply) -> Callable[[], Tensor]:
        """Return a function that draws starts of windows, (N, 2): episode and step; raises as `ReplayBuffer.starts` does."""
        experience, batch = supply.experience, supply.batch
        starts, ends = experience.starts(self.length, self.stride), experience.endings(self.length)
        from_ends = round(self.terminal_share * batch) if len(ends) else 0

        def draw() -> Tensor:
            drawn = [starts[torch.randint(len(starts), (batch - from_ends,))]]
            if from_ends:
                drawn.append(ends[torch.randint(len(ends), (from_ends,))])
            return torch.cat(drawn)

        return draw
