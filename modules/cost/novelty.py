"""Novelty: the negative distance to the nearest remembered state as an intrinsic energy."""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Distance, IntrinsicTerm, Prediction
from ami.errors import require


class Novelty(IntrinsicTerm):
    """IC(s) = -min over the remembered states r of d(s, r) / scale, where d is the world model's distance.

    The episodic novelty of Never Give Up (Badia and others, 2020) with one neighbour. The remembered states (…, *S, M) are
    passed in place of the goal (goal=recall), so the energy stays a pure function of its arguments. Requires a world model
    whose goals are states.

    Args:
        scale: the distance at which the energy is -1.

    Raises:
        SettingError: the scale is not positive.
    """

    remembers = True

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        require(scale > 0, f"Novelty.scale is {scale}: expected more than 0")
        self.scale = scale

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        nearest, *others = (distance(prediction.states, state) for state in goal.unbind(-1))
        for other in others:
            nearest = torch.minimum(nearest, other)
        return nearest / -self.scale
