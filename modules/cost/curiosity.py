"""What cannot be foretold attracts: curiosity as an intrinsic energy."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Distance, IntrinsicTerm, Prediction
from ami.errors import SettingError


class Curiosity(IntrinsicTerm):
    """IC = -spread: an imagined state is the more comfortable, the less the world model knows about it.

    The spread of several predictors' answers is large where little was learnt and vanishes with learning, also where the
    world is noisy (Pathak and others, *Self-supervised exploration via disagreement*, 2019; LeCun 2022, section 4.2). A
    lived state holds no open question: 0.

    Raises:
        SettingError: the world model tells no spread.
    """

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        if prediction.spread is not None:
            return -prediction.spread
        if actions is None:
            return prediction.states.new_zeros(prediction.states.shape[0])
        raise SettingError("cost has the term Curiosity, and the world model does not tell how uncertain it is (its "
                           "predictions have no spread). Fix: world_model=ensemble, or another cost")
