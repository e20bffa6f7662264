"""The trail: the running mean of an episode's states."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing.module import check_module
from ami.testing.subject import Subject
from modules.goal.trail import Trail


@pytest.mark.parametrize("dims", [{}, {"S": (2, 3)}])
def test_contract(dims):
    check_module(Trail, dims=dims)


def trail(states, rate):
    subject = Subject(lambda: Trail(rate), {"S": (1,)})
    life = [{"observation": None, "mode": None, "state": torch.tensor([[float(state)]])} for state in states]
    return [round(outputs["goal"].item(), 3) for outputs in subject.live(subject.fresh([0]), life)]


def test_plain_mean_at_first_then_exponential():
    assert trail([4, 0, 2, 0], rate=0.5) == [4, 2, 2, 1]
    assert trail([4, 0, 2], rate=0.1) == [4, 2, 2]


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(SettingError) as error:
        Trail(0)
    assert str(error.value) == "Trail.rate is 0: expected more than 0, at most 1"
