"""The goal as a vector."""

import torch

from ami.testing import check_goal
from ami.testing.subject import Subject
from modules.goal.vector import VectorGoal


def test_contract():
    check_goal(VectorGoal, dims={"G": (3,)})


def test_goal_is_passed_on_and_decides_the_size_of_goals():
    subject = Subject(VectorGoal, {"G": (3,)})
    (outputs,) = subject.run(subject.fresh([0]), [{"observation": torch.tensor([[1, 2, 3]]), "mode": None}])
    assert outputs["goal"].tolist() == [[1.0, 2.0, 3.0]]
    assert outputs["goal"].dtype == torch.float32
    assert VectorGoal().infer_dims({"G": (3,)}) == {"Q": (3,)}
