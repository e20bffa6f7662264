"""Planning on demand: Mode-1 while surprise is low and energy falls, else Mode-2.

Shapes: B parallel worlds, W terms of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Configurator
from ami.errors import require
from ami.ports import Port


class SurpriseGate(Configurator):
    """Mode-2 at an episode's first tick, on high surprise and without progress; Mode-1 otherwise (LeCun 2022, 3.1.3).

    The scales of surprise and energy depend on the learnt state space and the cost. Each is therefore compared with its own
    past in the episode, world by world:

    * surprise is high if it exceeds `factor` times its running mean: the mean of all ticks so far, later an exponential
      average with `rate`;
    * energy is high if it has had no new minimum for `patience` ticks.

    Either starts Mode-2 for `hold` ticks, so that the mode does not flicker. Energy can start it again after `patience` more
    ticks. The shipped graph wires energy one tick late; the energy at the first tick is ignored.

    Args:
        factor: threshold of surprise, in multiples of its running mean.
        rate: the share of the newest surprise in its running mean.
        patience: ticks without a new minimum of energy before Mode-2.
        hold: duration of Mode-2 in ticks.

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
            "vain": torch.zeros(batch, dtype=torch.int64),  # ticks since the last new minimum
            "left": torch.zeros(batch, dtype=torch.int64),  # remaining ticks of Mode-2
        }

    def step(self, energy: Tensor, surprise: Tensor) -> dict[str, Tensor]:
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
