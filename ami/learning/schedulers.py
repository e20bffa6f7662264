"""Learning-rate schedulers with a linear warm-up, in closed form: a resumed stage computes the same rates, bit for bit."""

from __future__ import annotations

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ami.errors import require


class WarmUp(LRScheduler):
    """Multiplies the learning rate by (s + 1) / `warm_up` at step s, until it is reached; constant from then on.

    Args:
        optimizer: the optimiser.
        warm_up: steps of the warm-up; 0 for none.

    Raises:
        SettingError: `warm_up` is negative.
    """

    def __init__(self, optimizer: Optimizer, warm_up: int = 50) -> None:
        require(warm_up >= 0, f"{type(self).__name__}.warm_up is {warm_up}: expected 0 or more steps")
        self.warm_up = warm_up
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group at step `last_epoch`."""
        warm = min(1.0, (self.last_epoch + 1) / self.warm_up) if self.warm_up else 1.0
        return [float(base) * warm * self.decay() for base in self.base_lrs]

    def decay(self) -> float:
        """Return the factor after the warm-up's."""
        return 1.0


class WarmUpCosine(WarmUp):
    """Linear warm-up times a cosine from 1 down to `final` (Loshchilov and Hutter, *SGDR*, 2017, without restarts).

    Args:
        optimizer: the optimiser.
        steps: the length of the decay; the rate stays at its end.
        warm_up: steps of the warm-up; 0 for none.
        final: the factor at the end, 0 to 1.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, optimizer: Optimizer, steps: int, warm_up: int = 50, final: float = 0.05) -> None:
        require(steps >= 1, f"WarmUpCosine.steps is {steps}: expected 1 or more")
        require(0 <= final <= 1, f"WarmUpCosine.final is {final}: expected 0 to 1")
        self.steps, self.final = steps, final
        super().__init__(optimizer, warm_up)

    def decay(self) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(self.last_epoch, self.steps) / self.steps))
        return self.final + (1 - self.final) * cosine
