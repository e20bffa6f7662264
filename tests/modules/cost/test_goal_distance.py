"""Distance to the goal: scale, unit, saturation."""

import pytest
import torch

from ami.blueprint import Prediction
from ami.errors import SettingError
from modules.cost.goal_distance import GoalDistance


def line(states, goal):
    return (states - goal).abs().squeeze(-1)


def energy(term, *away):
    return term.energy(Prediction(torch.tensor(away)[:, None]), None, torch.zeros(1), line).tolist()


def test_energy_is_the_distance_over_the_scale():
    assert energy(GoalDistance(scale=2.0), 0.0, 1.0, 8.0) == [0.0, 0.5, 4.0]


def test_saturated_energy_is_at_most_1():
    assert energy(GoalDistance(scale=2.0, saturate=True), 0.0, 1.0, 2.0, 8.0) == [0.0, 0.5, 1.0, 1.0]


def test_unit_is_the_running_mean_of_measured_steps():
    term = GoalDistance()
    for number, length in enumerate([4.0, 2.0, 3.0]):
        term.fit_statistics(torch.tensor(length), 1 / (number + 1))
    assert term.unit.item() == pytest.approx(3.0)
    assert energy(term, 6.0) == pytest.approx([2.0])


def test_it_is_immutable_and_its_unit_is_saved():
    term = GoalDistance()
    assert list(term.parameters()) == []
    assert list(term.state_dict()) == ["unit"]


def test_a_scale_that_is_not_positive_is_refused():
    with pytest.raises(SettingError) as error:
        GoalDistance(scale=0)
    assert str(error.value) == "GoalDistance.scale is 0: expected more than 0"
