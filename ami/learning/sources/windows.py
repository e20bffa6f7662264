"""Windows: stretches of recorded episodes, for world models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Tensor

from ami.data.replay_buffer import ACTION
from ami.errors import require
from ami.learning.sources.prioritised import PrioritisedDraw, check_priorities
from ami.learning.sources.source import Draw, Source, Supply


class Windows(Source):
    """Windows of T actions and T + 1 observations: "observation" (N, T + 1, *O), "action" (N, T, A) and, if recorded,
    "reward" and "cont" (N, T).

    Args:
        length: T, the number of actions of a window.
        terminal_share: share of the windows that end at a terminal step, which are rare and informative.
        stride: steps between the starts of two windows of an episode.
        alpha: above 0, windows are drawn in proportion to their last error to this power (`ami.data.priorities`), and the
            batch holds importance weights, "weight" (N,).
        beta: exponent of these weights: 0 corrects nothing of the bias of such draws, 1 the whole of it.
        shuffle_actions: whether the actions of a batch are permuted among its windows and steps: the control of a model
            whose predictions should depend on them.

    Raises:
        SettingError: a setting is out of its range, or both `alpha` and `terminal_share` are above 0.
    """

    def __init__(self, length: int = 5, terminal_share: float = 0.0, stride: int = 1, alpha: float = 0.0,
                 beta: float = 0.4, shuffle_actions: bool = False) -> None:
        owner = type(self).__name__
        require(length >= 1, f"{owner}.length is {length}: expected 1 or more steps")
        require(0 <= terminal_share <= 1, f"{owner}.terminal_share is {terminal_share}: expected 0 to 1")
        require(stride >= 1, f"{owner}.stride is {stride}: expected 1 or more steps")
        check_priorities(owner, alpha, beta, terminal_share)
        self.length, self.terminal_share, self.stride, self.alpha, self.beta = length, terminal_share, stride, alpha, beta
        self.shuffle_actions = shuffle_actions

    def open(self, supply: Supply) -> Draw:
        return self.drawn(supply, lambda starts: supply.experience.windows(starts, self.length))

    def shrunk(self, longest: int, episodes: int) -> Self:
        shorter = copy.copy(self)
        shorter.length = min(self.length, max(1, longest))
        return shorter

    def bytes_of(self, batch: int, sizes: Mapping[str, int], wants_pairs: bool) -> Mapping[str, int]:
        return {"batch": batch * (self.length + 1) * sizes["observation"]}

    def drawn(self, supply: Supply, rows: Callable[[Tensor], dict[str, Tensor]]) -> Draw:
        """Return what draws batches of windows; raises as `ReplayBuffer.starts` does.

        Args:
            supply: what to draw from.
            rows: returns a batch, given the starts of its windows, (N, 2): episode and step.
        """
        experience, batch = supply.experience, supply.batch
        rows = _shuffled(rows) if self.shuffle_actions else rows
        starts, ends = experience.starts(self.length, self.stride), experience.endings(self.length)
        if self.alpha:
            numbers = experience.first[starts[:, 0]] + starts[:, 1]
            return PrioritisedDraw(numbers, lambda index: rows(starts[index]), batch, self.alpha, self.beta)
        from_ends = round(self.terminal_share * batch) if len(ends) else 0

        def draw(step: int) -> dict[str, Tensor]:
            drawn = [starts[torch.randint(len(starts), (batch - from_ends,))]]
            if from_ends:
                drawn.append(ends[torch.randint(len(ends), (from_ends,))])
            return rows(torch.cat(drawn))

        return draw


def _shuffled(rows: Callable[[Tensor], dict[str, Tensor]]) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return a function that permutes the actions of the batches that another one returns."""

    def shuffled(starts: Tensor) -> dict[str, Tensor]:
        batch = rows(starts)
        require(ACTION in batch, "a source without actions has shuffle_actions true. Fix: shuffle_actions=false")
        action = batch[ACTION].flatten(0, 1)
        return {**batch, ACTION: action[torch.randperm(len(action))].view_as(batch[ACTION])}

    return shuffled
