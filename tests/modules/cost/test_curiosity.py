"""Curiosity: energy falls with the spread; a world model without spread is refused."""

import pytest
import torch

from ami.blueprint import Prediction
from ami.errors import SettingError
from ami.testing import check_cost
from ami.testing.subject import Subject
from modules.cost.curiosity import Curiosity
from modules.cost.goal_distance import GoalDistance
from modules.cost.weighted_sum import WeightedSum


def test_contract_within_a_cost():
    check_cost(lambda: WeightedSum({"curiosity": Curiosity(), "goal": GoalDistance()}))


def energy(spread):
    module = Subject(lambda: WeightedSum({"curiosity": Curiosity()}), {"S": (1,)}).fresh([0])
    return module.energy(Prediction(torch.zeros(1, 2, 3, 1), spread), torch.zeros(1, 2, 3, 2), torch.zeros(1, 1))


def test_energy_is_the_negative_spread():
    assert energy(torch.tensor([[[0.1, 0.1, 0.1], [0.1, 0.2, 0.9]]]))[0].tolist() == pytest.approx([-0.3, -1.2])


def test_world_model_without_spread_is_refused_with_a_fix():
    with pytest.raises(SettingError) as error:
        energy(None)
    assert str(error.value) == (
        "cost has the term Curiosity, but the world model's predictions have no spread. Fix: world_model=ensemble, or "
        "another cost")


def test_perceived_state_has_energy_0():
    perceived = Curiosity().energy(Prediction(torch.randn(4, 2, 3)), None, torch.zeros(4, 2, 3), None)
    assert perceived.tolist() == [0, 0, 0, 0]
