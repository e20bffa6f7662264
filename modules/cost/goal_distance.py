"""Goal distance: the intrinsic energy of every goal-directed agent here."""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Distance, IntrinsicTerm, Prediction
from ami.errors import require

SHORTEST = 1e-6  # collapsed states have steps of length 0; avoids the division by 0


class GoalDistance(IntrinsicTerm):
    """IC(s) = d(s, goal) / (scale · unit), where d is the world model's distance (LeCun 2022, section 3.2).

    Every learnt state space has its own unit of length. `unit` is therefore the mean distance of one step, measured
    (never optimised) from memory while a critic learns; until then it is 1, and `scale` is in units of d.

    Args:
        scale: the distance of energy 1, in steps.
        saturate: whether to clip the energy at 1. At long range a distance in a learnt space need not follow the shortest
            path; the critic's prediction of future energy does.

    Raises:
        SettingError: the scale is not positive.
    """

    unit: Tensor

    def __init__(self, scale: float = 1.0, saturate: bool = False) -> None:
        super().__init__()
        require(scale > 0, f"GoalDistance.scale is {scale}: expected more than 0")
        self.scale, self.saturate = scale, saturate
        self.register_buffer("unit", torch.ones(()))

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        away = distance(prediction.states, goal) / (self.unit * self.scale).clamp(min=SHORTEST)
        return away.clamp(max=1.0) if self.saturate else away

    def fit_statistics(self, step_length: Tensor, share: float) -> None:
        self.unit.lerp_(step_length, share)
