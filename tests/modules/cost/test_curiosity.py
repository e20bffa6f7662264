"""Curiosity: the less is known of an imagined state, the better; a world model that does not tell is refused."""

import pytest
import torch

from ami.blueprint import Prediction
from ami.errors import SettingError
from ami.testing import check_cost
from ami.testing.subject import Subject
from modules.cost.curiosity import Curiosity
from modules.cost.goal_distance import GoalDistance
from modules.cost.weighted_sum import WeightedSum


def test_in_a_cost_it_keeps_the_contract():
    check_cost(lambda: WeightedSum({"curiosity": Curiosity(), "goal": GoalDistance()}))


def energy(spread):
    module = Subject(lambda: WeightedSum({"curiosity": Curiosity()}), {"S": (1,)}).fresh([0])
    return module.energy(Prediction(torch.zeros(1, 2, 3, 1), spread), torch.zeros(1, 2, 3, 2), torch.zeros(1, 1))


def test_a_plan_into_the_unknown_has_less_energy():
    assert energy(torch.tensor([[[0.1, 0.1, 0.1], [0.1, 0.2, 0.9]]]))[0].tolist() == pytest.approx([-0.3, -1.2])


def test_a_world_model_that_tells_no_spread_is_refused_with_the_cure():
    with pytest.raises(SettingError) as error:
        energy(None)
    assert str(error.value) == (
        "cost has the term Curiosity, and the world model does not tell how uncertain it is (its predictions have no "
        "spread). Fix: world_model=ensemble, or another cost")


def test_a_lived_state_leaves_nothing_open():
    lived = Curiosity().energy(Prediction(torch.randn(4, 2, 3)), None, torch.zeros(4, 2, 3), None)
    assert lived.tolist() == [0, 0, 0, 0]
