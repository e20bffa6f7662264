"""Novelty: the negative distance to the nearest remembered state."""

import pytest
import torch

from ami.blueprint import Prediction
from ami.errors import SettingError
from ami.testing import check_cost
from modules.cost.novelty import Novelty
from modules.cost.reward import Reward
from modules.cost.weighted_sum import WeightedSum


@pytest.mark.parametrize("dims", [{}, {"S": (2, 3), "M": 1}])
def test_contract_within_a_cost(dims):
    check_cost(lambda: WeightedSum({"novelty": Novelty()}), dims=dims)


def test_energy_is_the_negative_scaled_distance_to_the_nearest():
    states, remembered = torch.tensor([[0.0], [3.0]]), torch.tensor([[[1.0, 9.0]], [[-8.0, 2.0]]])
    energy = Novelty(scale=2).energy(Prediction(states), None, remembered, lambda a, b: (a - b).abs().sum(-1))
    assert energy.tolist() == [-0.5, -0.5]


def test_another_term_without_a_goal_may_be_added():
    cost = WeightedSum({"novelty": Novelty(), "reward": Reward()})
    assert cost.inputs["goal"].dims == ("*S", "M") and cost.requires["world_model"].dims == {"S": "S", "Q": "S"}


def test_a_scale_of_0_is_refused():
    with pytest.raises(SettingError) as error:
        Novelty(0)
    assert str(error.value) == "Novelty.scale is 0: expected more than 0"
