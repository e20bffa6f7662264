"""Schedulers of the learning rate with a linear warm-up; one may also raise the weight decay.

They are in closed form: a resumed stage computes the same rates, bit for bit.
"""

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
        final_weight_decay: the weight decay at the end, which is reached along a cosine too (Assran and others, *I-JEPA*,
            2023, appendix A.1, from .04 to .4); None: it stays as the optimiser has it.

    Raises:
        SettingError: a setting is out of its range, or the optimiser has no weight decay to change.
    """

    def __init__(self, optimizer: Optimizer, steps: int, warm_up: int = 50, final: float = 0.05,
                 final_weight_decay: float | None = None) -> None:
        require(steps >= 1, f"WarmUpCosine.steps is {steps}: expected 1 or more")
        require(0 <= final <= 1, f"WarmUpCosine.final is {final}: expected 0 to 1")
        require(final_weight_decay is None or final_weight_decay >= 0,
                f"WarmUpCosine.final_weight_decay is {final_weight_decay}: expected 0 or more, or null")
        require(final_weight_decay is None or "weight_decay" in optimizer.defaults,
                f"WarmUpCosine.final_weight_decay is {final_weight_decay}, but {type(optimizer).__name__} has no weight "
                "decay. Fix: optimiser: adamw")
        self.steps, self.final, self.final_weight_decay = steps, final, final_weight_decay
        self.base_decays = [group.get("weight_decay", 0.0) for group in optimizer.param_groups]
        super().__init__(optimizer, warm_up)

    def decay(self) -> float:
        return self.final + (1 - self.final) * self._cosine()

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group at step `last_epoch`, and set its weight decay."""
        if self.final_weight_decay is not None:
            for group, base in zip(self.optimizer.param_groups, self.base_decays, strict=True):
                group["weight_decay"] = self.final_weight_decay + (base - self.final_weight_decay) * self._cosine()
        return super().get_lr()

    def _cosine(self) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(self.last_epoch, self.steps) / self.steps))


class WarmUpCoolDown(WarmUp):
    """Linear warm-up, a constant rate, then a linear cool-down to `final` (Assran and others, *V-JEPA 2*, 2025).

    Args:
        optimizer: the optimiser.
        steps: the number of all steps.
        warm_up: steps of the warm-up; 0 for none.
        cool_down: share of the steps, at the end, of the cool-down.
        final: the factor at the end, 0 to 1.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, optimizer: Optimizer, steps: int, warm_up: int = 50, cool_down: float = 0.2, final: float = 0.01
                 ) -> None:
        require(steps >= 1, f"WarmUpCoolDown.steps is {steps}: expected 1 or more")
        for name, value in (("cool_down", cool_down), ("final", final)):
            require(0 <= value <= 1, f"WarmUpCoolDown.{name} is {value}: expected 0 to 1")
        self.steps, self.cool_down, self.final = steps, cool_down, final
        super().__init__(optimizer, warm_up)

    def decay(self) -> float:
        length = self.cool_down * self.steps
        left = min(1.0, max(0.0, (self.steps - self.last_epoch) / length)) if length else 1.0
        return self.final + (1 - self.final) * left
