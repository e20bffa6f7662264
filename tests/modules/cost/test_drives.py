"""Drives: a barrier of the battery, and bumps; only perceived states have a body."""

import math

import pytest
import torch

from ami.blueprint import Prediction
from ami.errors import SettingError
from ami.module import Episode
from modules.cost.drives import Battery, Bump
from modules.cost.goal_distance import GoalDistance
from modules.cost.weighted_sum import WeightedSum
from tests.support.corridors import calling_rooms

BODY = torch.tensor([[1.0, 0.0, 1.0], [0.5, 0.0, 0.0], [0.0, 1.0, 0.0]])


def felt(term) -> list[float]:
    return term.energy(Prediction(torch.zeros(3, 2), body=BODY), None, torch.zeros(3, 2), None).tolist()


def test_the_battery_is_a_barrier():
    full, half, empty = felt(Battery())
    assert full == 0
    assert half == pytest.approx(math.log(2))
    assert 6 < empty < math.inf


def test_a_bump_costs_one():
    assert felt(Bump()) == [1.0, 0.0, 0.0]


def test_imagined_states_have_no_body():
    energy = Battery().energy(Prediction(torch.zeros(2, 4, 3, 2)), torch.zeros(2, 4, 3, 2), torch.zeros(2, 1, 1, 2), None)
    assert energy.tolist() == torch.zeros(2, 4, 3).tolist()


def test_drives_are_reported_apart_from_the_other_terms():
    cost = calling_rooms(WeightedSum({"goal_distance": GoalDistance(), "battery": Battery(), "bump": Bump()}))
    cost.set_up({"S": (3,), "Q": (3,), "W": 3, "Y": (3,)})
    cost.begin(torch.ones(3, dtype=torch.bool), [Episode(number, seed=0) for number in range(3)])
    outputs = cost.step(state=torch.zeros(3, 3), goal=torch.tensor([[0.0, 3.0, 4.0]]).expand(3, 3), body=BODY)
    assert outputs["drives"].tolist() == pytest.approx(felt(Battery()))
    assert outputs["intrinsic"].tolist() == pytest.approx([5 + one + other for one, other in
                                                           zip(felt(Battery()), felt(Bump()), strict=True)])


def test_an_entry_that_the_body_lacks_is_refused():
    with pytest.raises(SettingError, match=r"^Bump\.index is 7, but body has 3 numbers\. Fix: a smaller index, or"):
        felt(Bump(7))
