"""Curiosity: the ensemble's disagreement as negative intrinsic energy."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Distance, IntrinsicTerm, Prediction
from ami.errors import SettingError


class Curiosity(IntrinsicTerm):
    """IC = -spread: uncertain predictions have low energy.

    The spread of an ensemble's predictions is large for unseen data and vanishes with learning, also in a noisy world
    (Pathak and others, *Self-supervised exploration via disagreement*, 2019; LeCun 2022, section 4.2). A perceived state
    has no spread: 0.

    Raises:
        SettingError: the world model predicts no spread.
    """

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        if prediction.spread is not None:
            return -prediction.spread
        if actions is None:
            return prediction.states.new_zeros(prediction.states.shape[0])
        raise SettingError("cost has the term Curiosity, but the world model's predictions have no spread. "
                           "Fix: world_model=ensemble, or another cost")
