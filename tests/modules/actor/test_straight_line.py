"""The straight line: towards the goal, at full speed until it is near."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.straight_line import StraightLine


def test_contract():
    check_actor(StraightLine)


def test_full_speed_when_far_and_slower_when_near():
    subject = Subject(StraightLine, {"S": (3,)})
    state, goal = torch.tensor([[0.0, 0.0, 10.0], [4.0, 4.0, 10.0]]), torch.tensor([[6.0, 8.0, 10.0], [4.0, 5.0, 10.0]])
    (outputs,) = subject.run(subject.fresh([0, 1]), [{"state": state, "goal": goal, "mode": torch.ones(2), "plan": None}])
    assert torch.allclose(outputs["action"], torch.tensor([[0.6, 0.8], [0.0, 0.5]]))


def test_states_without_a_position_are_refused():
    with pytest.raises(SettingError) as error:
        Subject(StraightLine, {"S": (2, 3)}).fresh([0])
    assert str(error.value) == (
        "StraightLine was given states of the shape (2, 3): expected a vector that begins with a position of 2 numbers. "
        "Fix: world.observe=state and perception=identity")


def test_gain_of_0_is_refused():
    with pytest.raises(SettingError) as error:
        StraightLine(0.0)
    assert str(error.value) == "StraightLine.gain is 0.0: expected more than 0"
