"""DAgger data: the planner plans at every tick, the actor reacts in a share of them.

Shapes: B parallel worlds, W terms of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Configurator
from ami.errors import require
from ami.ports import Port


class Practice(Configurator):
    """Mode-2 for all modules, but the actor receives Mode-1 in a share of the ticks, drawn per world and tick.

    The policy then visits the states that its own mistakes lead to, labelled with the planner's plan there (Ross and
    others, *DAgger*, 2011). For an actor whose mode is wired from `acting`.

    Args:
        share: the share of ticks in which the actor reacts, 0 to 1.

    Raises:
        SettingError: the share is out of its range.
    """

    outputs = {**Configurator.outputs, "acting": Port("mode", (), torch.int64)}

    ignores = ("energy", "surprise")

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        require(0 <= share <= 1, f"Practice.share is {share}: expected 0 to 1")
        self.share = share

    def step(self, energy: Tensor | None = None, surprise: Tensor | None = None) -> dict[str, Tensor]:
        (terms,) = self.outputs["weights"].shape(self.dims)
        reacts = self.random.uniform(0.0, 1.0) < self.share
        return {"mode": torch.full((self.batch,), 2), "weights": torch.ones(self.batch, terms), "acting": 2 - reacts.long()}
