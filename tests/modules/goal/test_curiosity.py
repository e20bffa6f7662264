"""No goal is zero, whatever the world shows; it keeps the contract."""

from ami.testing import check_goal
from ami.testing.subject import Subject
from modules.goal.curiosity import Curiosity


def test_it_keeps_the_contract():
    check_goal(Curiosity)


def test_it_wants_nothing():
    subject = Subject(Curiosity, {"S": (2, 3)})
    (outputs,) = subject.live(subject.fresh([0]), subject.life(1, 1))
    assert outputs["goal"].shape == (1, 2, 3) and not outputs["goal"].any()
