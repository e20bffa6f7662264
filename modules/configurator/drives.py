"""Drives: a configurator that decides what to want, and whether to think about it.

Shapes: B parallel worlds, G goals, W terms of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.errors import require
from modules.configurator._wishing import Felt, Wishing

ERRAND, RELIEF = 0, 1
RULES = ("need", "threshold", "errand", "relief")


class Drives(Wishing):
    """Wishes for relief while a drive needs it, otherwise for the errand; plans while level 2 reports no progress.

    The drive is a barrier, `energy` = -log(level) (`modules.cost.battery`), so that the felt level is exp(-energy). `rule`:

    * "need": relief if the level would be used up on the way to it: ticks left < way / `speed` + `slack`. What a tick uses
      is measured while the level falls; a level that never fell needs nothing.
    * "threshold": relief below the level `low`.
    * "errand", "relief": always that goal, the controls.

    A wish for relief lasts until the level is `full`. The mode is 2 for `hold` ticks after `patience` ticks without progress
    towards the sub-goal, else 1; while `touring` it is 1, and nothing of the tour counts.

    Args:
        rule: see above.
        low: level, 0 to 1.
        full: level at which relief ends, 0 to 1.
        speed: progress along a way in one tick, in units of the way.
        slack: ticks of reserve.
        patience, hold: ticks, see above.
        mode: "gate"; or 1 or 2 for the same mode in every tick.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, rule: str = "need", low: float = 0.5, full: float = 0.95, speed: float = 0.95, slack: float = 6.0,
                 patience: int = 3, hold: int = 5, mode: str | int = "gate") -> None:
        super().__init__(patience, hold, mode)
        require(rule in RULES, f"Drives.rule is {rule!r}: expected one of {', '.join(RULES)}")
        for name, value in (("low", low), ("full", full)):
            require(0 <= value <= 1, f"Drives.{name} is {value}: expected 0 to 1")
        require(speed > 0, f"Drives.speed is {speed}: expected more than 0")
        require(slack >= 0, f"Drives.slack is {slack}: expected 0 or more ticks")
        self.rule, self.low, self.full, self.speed, self.slack = rule, low, full, speed, slack

    def choose(self, felt: Felt) -> dict[str, Tensor]:
        if self.rule in ("errand", "relief"):
            return {"wish": torch.full_like(self.carry["wish"], ERRAND if self.rule == "errand" else RELIEF)}
        if self.rule == "threshold":
            needs = felt.level < self.low
        else:
            lasts = felt.level / felt.use.clamp(min=1e-6)
            needs = (felt.use > 0) & (lasts < felt.ways[:, RELIEF] / self.speed + self.slack)
        keeps = (self.carry["wish"] == RELIEF) & (felt.level < self.full)
        return {"wish": torch.where(needs | keeps, RELIEF, ERRAND)}
