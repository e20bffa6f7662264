"""Reward: the negative reward of the world as an intrinsic energy."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Distance, IntrinsicTerm, Prediction
from ami.errors import SettingError


class Reward(IntrinsicTerm):
    """IC = -reward on arriving at a state: the world's for perceived states, the world model's for imagined ones.

    The paper's intrinsic cost is built in and has no external reward (section 3.2); this term serves worlds evaluated by
    their return.

    Raises:
        SettingError: a reward is unknown.
    """

    needs = ("reward",)

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        if prediction.reward is None:
            raise SettingError("cost.intrinsic needs the reward of states without one: the world model does not predict "
                               "rewards, a critic learns from pairs of states, or a memory keeps imagined ones. "
                               "Fix: world_model.rewards=true, or in a model of your own `reward` in the Prediction that "
                               "imagine returns; the critic modules.cost.value.Value; memory=episodic")
        return -prediction.reward
