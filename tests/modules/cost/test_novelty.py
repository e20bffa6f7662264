"""Novelty: the negative distance to remembered states."""

import pytest
import torch

from ami.blueprint import Prediction
from ami.errors import SettingError
from ami.testing import check_cost
from modules.cost.novelty import Novelty
from modules.cost.weighted_sum import WeightedSum


def test_contract_within_a_cost():
    check_cost(lambda: WeightedSum({"novelty": Novelty()}))


def test_energy_is_the_negative_scaled_distance():
    states, remembered = torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [1.0]])
    energy = Novelty(scale=2).energy(Prediction(states), None, remembered, lambda a, b: (a - b).abs().sum(-1))
    assert energy.tolist() == [-0.5, -1]


def test_a_scale_of_0_is_refused():
    with pytest.raises(SettingError) as error:
        Novelty(0)
    assert str(error.value) == "Novelty.scale is 0: expected more than 0"
