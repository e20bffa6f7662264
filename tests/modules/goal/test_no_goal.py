"""No goal: zeros, and the contract of goals."""

import torch

from ami.testing import check_goal
from ami.testing.subject import Subject
from modules.goal.none import NoGoal


def test_contract():
    check_goal(NoGoal)
    check_goal(NoGoal, dims={"G": (0,), "S": (2, 3)})


def test_goal_is_zero():
    goal = Subject(NoGoal, {"G": (0,), "S": (4,)}).fresh([0, 1])
    assert torch.equal(goal.step(torch.zeros(2, 0))["goal"], torch.zeros(2, 4))
