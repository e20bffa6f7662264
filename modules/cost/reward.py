"""The world's reward, turned round: what it rewards is comfortable."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Distance, IntrinsicTerm, Prediction
from ami.errors import SettingError


class Reward(IntrinsicTerm):
    """IC = -reward on arriving at a state: the world's own for lived states, the world model's for imagined ones.

    The paper's intrinsic cost is built in and has no reward from outside (section 3.2); worlds that are judged by their
    return give this one instead.

    Raises:
        SettingError: a reward is not known.
    """

    needs = ("reward",)

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        if prediction.reward is None:
            raise SettingError("cost.intrinsic asks for the reward of states of which it is not known: the world model does "
                               "not foresee it, a critic learns from pairs of states, or a memory keeps imagined ones. "
                               "Fix: world_model.rewards=true, the critic modules.cost.value.Value, memory=episodic")
        return -prediction.reward
