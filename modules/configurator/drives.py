"""Drives: a configurator that decides what to want, and whether to think about it.

Shapes: B parallel worlds, G goals, W terms of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Configurator
from ami.errors import require
from ami.ports import Port

ERRAND, RELIEF = 0, 1
TOURING = 1
"""The entry of `body` that is 1 while the agent is carried."""
RULES = ("need", "threshold", "errand", "relief")


class Drives(Configurator):
    """Wishes for relief while a drive needs it, otherwise for the errand; plans while level 2 reports no progress.

    The drive is a barrier, `energy` = -log(level) (`modules.cost.battery`), so that the felt level is exp(-energy). `rule`:

    * "need": relief if the level would be used up on the way to it: ticks left < way / `speed` + `slack`. What a tick uses
      is measured while the level falls; a level that never fell needs nothing.
    * "threshold": relief below the level `low`.
    * "errand", "relief": always that goal, the controls.

    A wish for relief lasts until the level is `full`. The mode is 2 for `hold` ticks after `patience` ticks without progress
    towards the sub-goal, else 1; while `touring`, 1.

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

    inputs = {
        "energy": Port("energy"),
        "ways": Port("energies", ("G",)),
        "stalled": Port("count", (), torch.int64),
        "body": Port("observation", ("*Y",)),
        "surprise": Configurator.inputs["surprise"],
    }
    ignores = ("surprise",)
    outputs = {**Configurator.outputs, "wish": Port("wish", (), torch.int64)}

    def __init__(self, rule: str = "need", low: float = 0.5, full: float = 0.95, speed: float = 0.95, slack: float = 6.0,
                 patience: int = 3, hold: int = 5, mode: str | int = "gate") -> None:
        super().__init__()
        require(rule in RULES, f"Drives.rule is {rule!r}: expected one of {', '.join(RULES)}")
        for name, value in (("low", low), ("full", full)):
            require(0 <= value <= 1, f"Drives.{name} is {value}: expected 0 to 1")
        require(speed > 0, f"Drives.speed is {speed}: expected more than 0")
        require(slack >= 0, f"Drives.slack is {slack}: expected 0 or more ticks")
        require(patience >= 1, f"Drives.patience is {patience}: expected 1 or more ticks")
        require(hold >= 1, f"Drives.hold is {hold}: expected 1 or more ticks")
        require(mode in ("gate", 1, 2), f"Drives.mode is {mode!r}: expected gate, 1 (react) or 2 (plan)")
        self.rule, self.low, self.full, self.speed, self.slack = rule, low, full, speed, slack
        self.patience, self.hold, self.mode = patience, hold, mode

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {
            "level": torch.zeros(batch),  # nothing is felt before the second tick, since energy is one tick late
            "tick": torch.zeros(batch, dtype=torch.int64),
            "use": torch.zeros(batch),  # of the level per tick, a running mean
            "wish": torch.zeros(batch, dtype=torch.int64),
            "left": torch.zeros(batch, dtype=torch.int64),  # remaining ticks of Mode-2
        }

    def step(self, energy: Tensor, ways: Tensor, stalled: Tensor, body: Tensor,
             surprise: Tensor | None = None) -> dict[str, Tensor]:
        level, before = torch.exp(-energy), self.carry["level"]
        fell = torch.where(self.carry["tick"] > 1, before - level, 0.0)
        use = torch.where(fell > 0, torch.where(self.carry["use"] > 0, torch.lerp(self.carry["use"], fell, 0.1), fell),
                          self.carry["use"])
        wish = self._wish(level, use, ways)
        left = torch.where(stalled >= self.patience, self.hold, self.carry["left"])
        mode = torch.where(left > 0, 2, 1) if self.mode == "gate" else torch.full_like(left, int(self.mode))
        mode = torch.where(body[:, TOURING].cpu() > 0, 1, mode)
        self.carry = {"tick": self.carry["tick"] + 1, "level": level, "use": use, "wish": wish,
                      "left": (left - 1).clamp(min=0)}
        (terms,) = self.outputs["weights"].shape(self.dims)
        return {"mode": mode, "weights": torch.ones(self.batch, terms), "wish": wish.clone()}

    def _wish(self, level: Tensor, use: Tensor, ways: Tensor) -> Tensor:
        if self.rule in ("errand", "relief"):
            return torch.full_like(self.carry["wish"], ERRAND if self.rule == "errand" else RELIEF)
        if self.rule == "threshold":
            needs = level < self.low
        else:
            needs = (use > 0) & (level / use.clamp(min=1e-6) < ways[:, RELIEF] / self.speed + self.slack)
        keeps = (self.carry["wish"] == RELIEF) & (level < self.full)
        return torch.where(needs | keeps, RELIEF, ERRAND)
