"""What configurators that choose a goal share: the felt level and its use, and the gate between reacting and planning.

Shapes: B parallel worlds, G goals, W terms of the cost.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ami.blueprint import Configurator
from ami.errors import require
from ami.ports import Port

TOURING = 1
"""The entry of `body` that is 1 while the agent is carried."""


class Felt(NamedTuple):
    """What an agent feels of its drive and of its goals at one tick.

    Attributes:
        energy: (B,), of the drive, -log(level).
        level: (B,), 0 to 1.
        use: (B,), of the level per tick, a running mean over ticks in which it fell; 0 before it ever fell.
        ways: (B, G), the lengths of the ways to the goals.
        touring: (B,) bool, whether the agent is carried.
    """

    energy: Tensor
    level: Tensor
    use: Tensor
    ways: Tensor
    touring: Tensor


class Wishing(Configurator):
    """Chooses a goal by `choose`; plans while level 2 reports no progress.

    The drive is a barrier, `energy` = -log(level) (`modules.cost.drives`), so that the felt level is exp(-energy). The mode
    is 2 for `hold` ticks after `patience` ticks without progress towards the sub-goal, else 1; while `touring` it is 1, and
    nothing of the tour counts.

    Args:
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

    def __init__(self, patience: int = 3, hold: int = 5, mode: str | int = "gate") -> None:
        super().__init__()
        owner = type(self).__name__
        require(patience >= 1, f"{owner}.patience is {patience}: expected 1 or more ticks")
        require(hold >= 1, f"{owner}.hold is {hold}: expected 1 or more ticks")
        require(mode in ("gate", 1, 2), f"{owner}.mode is {mode!r}: expected gate, 1 (react) or 2 (plan)")
        self.patience, self.hold, self.mode = patience, hold, mode

    def choose(self, felt: Felt) -> dict[str, Tensor]:
        """Return "wish" (B,) int64, the number of the goal, and any further outputs."""
        raise NotImplementedError

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {
            "level": torch.zeros(batch),  # nothing is felt before the second tick, since energy is one tick late
            "tick": torch.zeros(batch, dtype=torch.int64),
            "use": torch.zeros(batch),  # of the level per tick, a running mean
            "wish": torch.zeros(batch, dtype=torch.int64),
            "left": torch.zeros(batch, dtype=torch.int64),  # remaining ticks of Mode-2
            "touring": torch.zeros(batch, dtype=torch.bool),  # a tick ago
        }

    def step(self, energy: Tensor, ways: Tensor, stalled: Tensor, body: Tensor,
             surprise: Tensor | None = None) -> dict[str, Tensor]:
        level, before = torch.exp(-energy), self.carry["level"]
        fell = torch.where(self.carry["tick"] > 1, before - level, 0.0)
        use = torch.where(fell > 0, torch.where(self.carry["use"] > 0, torch.lerp(self.carry["use"], fell, 0.1), fell),
                          self.carry["use"])
        touring = body[:, TOURING] > 0
        chosen = self.choose(Felt(energy, level, use, ways, touring))
        # `stalled` is one tick late, so at a tour's end it is still of the tour
        waits = (stalled.to(self.device) >= self.patience) & ~self.carry["touring"]
        left = torch.where(waits, self.hold, self.carry["left"])
        mode = torch.where(left > 0, 2, 1) if self.mode == "gate" else torch.full_like(left, int(self.mode))
        mode = torch.where(touring, 1, mode)
        self.carry = {**self.carry, "tick": self.carry["tick"] + 1, "level": level, "use": use, "wish": chosen["wish"],
                      "left": (left - 1).clamp(min=0), "touring": touring}
        (terms,) = self.outputs["weights"].shape(self.dims)
        return {"mode": mode, "weights": torch.ones(self.batch, terms), **chosen, "wish": chosen["wish"].clone()}
