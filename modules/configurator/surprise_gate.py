"""Think only when needed: Mode-1 while surprise and energy are low, else Mode-2.

Shapes: B parallel worlds, W terms of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Configurator
from ami.errors import require
from ami.ports import Port


class SurpriseGate(Configurator):
    """Mode-2 at an episode's first tick, when surprised and when getting nowhere; Mode-1 otherwise (LeCun 2022, 3.1.3).

    Neither surprise nor energy has a unit of its own: every learnt state space and every cost has another. So each is held
    against its own past in the episode, world by world:

    * surprise is high when it exceeds `factor` times its running mean, which is the mean of all ticks up to now, later
      that of the last 1 / `rate`;
    * energy is high when it does not fall: `patience` ticks have passed since it was lower than ever before.

    What is high starts Mode-2 for `hold` ticks (a gate that looked at each tick alone would flicker), and energy is given
    `patience` ticks more before it can do so again. Energy is that of the tick before where it is wired one tick late, as
    in the shipped graph; what arrives at the first tick is not looked at.

    Args:
        factor: how many times its mean surprise must be.
        rate: the share of the newest surprise in its running mean.
        patience: for how many ticks energy may fail to fall.
        hold: how many ticks Mode-2 lasts.

    Raises:
        SettingError: a setting is out of its range.
    """

    inputs = {"energy": Port("energy"), "surprise": Port("surprise")}

    def __init__(self, factor: float = 3.0, rate: float = 0.1, patience: int = 3, hold: int = 2) -> None:
        super().__init__()
        require(factor > 0, f"SurpriseGate.factor is {factor}: expected more than 0")
        require(0 < rate <= 1, f"SurpriseGate.rate is {rate}: expected more than 0, at most 1")
        require(patience >= 1, f"SurpriseGate.patience is {patience}: expected 1 or more")
        require(hold >= 1, f"SurpriseGate.hold is {hold}: expected 1 or more")
        self.factor, self.rate, self.patience, self.hold = factor, rate, patience, hold

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {
            "tick": torch.zeros(batch, dtype=torch.int64),
            "mean": torch.zeros(batch),  # of surprise
            "lowest": torch.full((batch,), torch.inf),  # energy so far
            "vain": torch.zeros(batch, dtype=torch.int64),  # ticks since it was lower than ever before
            "left": torch.zeros(batch, dtype=torch.int64),  # ticks of Mode-2 to come
        }

    def step(self, energy: Tensor, surprise: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        tick, mean, lowest, vain, left = (self.carry[name] for name in ("tick", "mean", "lowest", "vain", "left"))
        first = tick == 0
        surprised = (tick > 1) & (surprise > self.factor * mean)  # nothing was predicted before tick 1
        falls = first | (energy < lowest)
        vain = torch.where(falls, 0, vain + 1)
        stuck = vain >= self.patience
        left = torch.where(surprised | stuck, self.hold, left)
        mode = torch.where(first | (left > 0), 2, 1)
        self.carry = {
            "tick": tick + 1,
            "mean": torch.lerp(mean, surprise, (1 / tick.clamp(min=1)).clamp(min=self.rate)),
            "lowest": torch.where(first, lowest, torch.minimum(lowest, energy)),
            "vain": torch.where(stuck, 0, vain),
            "left": (left - 1).clamp(min=0),
        }
        (terms,) = self.outputs["weights"].shape(self.dims)
        return {"mode": mode, "weights": torch.ones(self.batch, terms)}
