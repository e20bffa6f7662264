"""Priorities: draws in proportion to the last error, after Schaul and others, *Prioritized Experience Replay* (2016).

The probability of entry i is pᵢ^α / Σ p^α. Its importance weight (M · P(i))^-β, divided by the largest one, corrects the
bias of uneven draws. A sum tree holds the powers: a draw and an update take log₂ M steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.errors import require

SMALLEST = 1e-6
"""Added to an error, so that every entry is drawn now and then."""


class Priorities:
    """Priorities of M entries, such as the windows of a buffer.

    All are equal until the first update; then those without an error have the largest one of that update.

    Args:
        count: M.
        alpha: 0 draws evenly, 1 in proportion to the error.
        beta: 0 corrects nothing, 1 the whole bias.

    Attributes:
        largest: the largest error so far; 0 before the first update.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, count: int, alpha: float = 0.6, beta: float = 0.4) -> None:
        require(count >= 1, f"priorities of {count} entries: expected 1 or more")
        require(alpha >= 0, f"alpha is {alpha}: expected 0 or more")
        require(0 <= beta <= 1, f"beta is {beta}: expected 0 to 1")
        self.count, self.alpha, self.beta = count, alpha, beta
        self._leaves = 1 << (count - 1).bit_length()
        self._sums = torch.zeros(2 * self._leaves, dtype=torch.float64)  # node n has the children 2n and 2n + 1
        self.largest = 0.0
        self._fill(torch.ones(count, dtype=torch.float64))

    @property
    def powers(self) -> Tensor:
        """(M,), p^α of every entry."""
        return self._sums[self._leaves:self._leaves + self.count]

    def draw(self, batch: int) -> tuple[Tensor, Tensor]:
        """Draw N entries, one from each of N equal parts of the total.

        Returns:
            Their indices (N,), and their importance weights (N,) in (0, 1]. Drawn from torch's global stream.
        """
        left = (torch.arange(batch) + torch.rand(batch, dtype=torch.float64)) / batch * self._sums[1]
        node = torch.ones(batch, dtype=torch.int64)
        while int(node[0]) < self._leaves:
            below = self._sums[2 * node]
            right = (left >= below) & (self._sums[2 * node + 1] > 0)
            left, node = left - below * right, 2 * node + right
        index = node - self._leaves
        weights = (self.count * self._sums[node] / self._sums[1]) ** -self.beta
        return index, (weights / weights.max()).float()

    def update(self, index: Tensor, errors: Tensor) -> None:
        """Set the priorities of entries (N,) to their absolute errors (N,); to the largest one of an entry with several."""
        given = errors.detach().abs().double().cpu() + SMALLEST
        if not self.largest:
            self._fill(given.max().expand(self.count) ** self.alpha)
        self.largest = max(self.largest, float(given.max()))
        index, place = torch.unique(index, return_inverse=True)
        self._set(index, given.new_zeros(len(index)).scatter_reduce(0, place, given, "amax") ** self.alpha)

    def take_over(self, powers: Tensor, largest: float) -> None:
        """Set p^α of the first m entries, (m,), and the largest error so far; the other entries, new ones, have that."""
        self.largest = largest
        new = torch.full((self.count - len(powers),), largest**self.alpha if largest else 1.0, dtype=torch.float64)
        self._fill(torch.cat([powers, new]))

    def _fill(self, powers: Tensor) -> None:
        self._sums[self._leaves:self._leaves + self.count] = powers
        level = self._leaves // 2
        while level:
            self._sums[level:2 * level] = self._sums[2 * level:4 * level].view(-1, 2).sum(1)
            level //= 2

    def _set(self, index: Tensor, powers: Tensor) -> None:
        node = index + self._leaves
        self._sums[node] = powers
        while int(node[0]) > 1:
            node = node // 2  # entries with one parent set it to the same sum
            self._sums[node] = self._sums[2 * node] + self._sums[2 * node + 1]
