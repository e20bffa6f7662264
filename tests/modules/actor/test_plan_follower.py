"""The plan follower: the newest plan's first action, or several of one plan; Mode-1 is refused."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.plan_follower import PlanFollower

REACT = ("the actor received mode 1 (react), but PlanFollower has no policy. "
         "Fix: configurator.mode=2, or an actor that reacts, such as actor=random")


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_contract(num_steps):
    check_actor(lambda: PlanFollower(num_steps))


def actions(num_steps, ticks, horizon=3):
    """Actions if the plan of tick t is t, t + .1, t + .2 …"""
    subject = Subject(lambda: PlanFollower(num_steps), {"H": horizon, "A": 1})
    sequence = subject.sample_inputs(1, ticks)
    for tick, inputs in enumerate(sequence):
        inputs["plan"] = tick + torch.arange(horizon).view(1, horizon, 1) / 10
    return [round(outputs["action"].item(), 1) for outputs in subject.run(subject.fresh([0]), sequence)]


def test_follows_the_newest_plan():
    assert actions(1, 3) == [0.0, 1.0, 2.0]


def test_num_steps_of_a_plan_are_executed():
    assert actions(2, 5) == [0.0, 0.1, 2.0, 2.1, 4.0]


def test_mode_1_is_refused_with_a_fix():
    subject = Subject(PlanFollower)
    (inputs,) = subject.sample_inputs(2, 1)
    with pytest.raises(SettingError) as error:
        subject.run(subject.fresh([0, 1]), [{**inputs, "mode": torch.tensor([2, 1])}])
    assert str(error.value) == REACT


def test_plan_is_required():
    assert not PlanFollower().inputs["plan"].optional


def test_num_steps_above_the_horizon_is_refused():
    with pytest.raises(SettingError) as error:
        Subject(lambda: PlanFollower(4), {"H": 3}).fresh([0])
    assert str(error.value) == "PlanFollower.num_steps is 4: expected at most the planner's horizon, 3"


def test_num_steps_below_1_is_refused():
    with pytest.raises(SettingError) as error:
        PlanFollower(0)
    assert str(error.value) == "PlanFollower.num_steps is 0: expected 1 or more"
