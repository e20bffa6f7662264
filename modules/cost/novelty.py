"""Novelty: the negative distance to a remembered state as an intrinsic energy."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Distance, IntrinsicTerm, Prediction
from ami.errors import require


class Novelty(IntrinsicTerm):
    """IC(s) = -d(s, remembered) / scale, where d is the world model's distance.

    The remembered state takes the place of the goal (goal=recall), so it reaches the energies of imagined plans as any goal
    does, and they remain functions of their arguments.

    Args:
        scale: the distance of energy -1.

    Raises:
        SettingError: the scale is not positive.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        require(scale > 0, f"Novelty.scale is {scale}: expected more than 0")
        self.scale = scale

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        return distance(prediction.states, goal) / -self.scale
