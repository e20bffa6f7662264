"""PrioritisedDraw: batches of entries drawn in proportion to the errors that the learner reported for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ami.blueprint.row_errors import WEIGHT
from ami.data.priorities import Priorities
from ami.errors import require


class PrioritisedDraw:
    """Draws the batches of one round, with importance weights "weight" (N,); see `ami.data.priorities`.

    Args:
        numbers: (M,), an increasing number for each entry, which it has in later rounds too.
        rows: returns the batch of some entries, given their indices (N,).
        batch: N.
        alpha, beta: the settings of `Priorities`.
    """

    def __init__(self, numbers: Tensor, rows: Callable[[Tensor], dict[str, Tensor]], batch: int, alpha: float,
                 beta: float) -> None:
        self._numbers, self._rows, self._batch = numbers, rows, batch
        self._priorities = Priorities(len(numbers), alpha, beta)
        self._drawn = torch.zeros(0, dtype=torch.int64)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """Draw a batch from torch's global stream."""
        self._drawn, weights = self._priorities.draw(self._batch)
        return {**self._rows(self._drawn), WEIGHT: weights}

    def update(self, errors: Tensor) -> None:
        """Set the priorities of the last batch to its errors (N,)."""
        self._priorities.update(self._drawn, errors)

    def state(self) -> dict[str, Tensor]:
        """Return the priorities, and the number of the last entry."""
        return {"powers": self._priorities.powers, "last": self._numbers[-1],
                "largest": torch.tensor(self._priorities.largest, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over the priorities of this round or an earlier one. The oldest entries may be gone, and new ones follow."""
        known = int((self._numbers <= state["last"]).sum())
        powers = state["powers"]
        self._priorities.take_over(powers[len(powers) - known:], float(state["largest"]))


def check_priorities(owner: str, alpha: float, beta: float, terminal_share: float) -> None:
    """Check the settings of a source that may draw by priorities.

    Raises:
        SettingError: one is out of its range, or ends of episodes are drawn more often as well.
    """
    require(0 <= alpha < math.inf, f"{owner}.alpha is {alpha}: expected 0, which draws evenly, or more")
    require(0 <= beta <= 1, f"{owner}.beta is {beta}: expected 0 to 1")
    require(not (alpha and terminal_share), f"{owner}.alpha is {alpha} and {owner}.terminal_share {terminal_share}: "
                                            "expected at most one of them above 0. Fix: terminal_share=0, or alpha=0")
