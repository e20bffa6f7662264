"""The random actor: smooth, stationary from the first tick, of norm 1 at most."""

import pytest
import torch

from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.random import RandomActor


def noise(rho, sigma, rows=400, ticks=6):
    """The noise of every tick, (ticks, rows, A), small enough not to be clipped."""
    subject = Subject(lambda: RandomActor(rho, sigma))
    record = subject.live(subject.fresh(range(rows)), subject.life(rows, ticks))
    return torch.stack([outputs["action"] for outputs in record])


def test_it_keeps_the_contract():
    check_actor(RandomActor)


def test_it_is_stationary_from_the_first_action_on():
    std = noise(0.8, 0.1).std((1, 2))
    assert torch.allclose(std, torch.full((6,), 0.1), atol=0.008)


def test_one_action_is_like_the_last():
    drawn = noise(0.8, 0.1)
    correlation = (drawn[1:] * drawn[:-1]).mean() / drawn.square().mean()
    assert correlation.item() == pytest.approx(0.8, abs=0.05)


def test_without_rho_it_is_white():
    drawn = noise(0.0, 0.1)
    assert abs((drawn[1:] * drawn[:-1]).mean() / drawn.square().mean()) < 0.05


def test_choices_are_kept_as_likely_as_told_and_else_drawn_alike():
    subject = Subject(lambda: RandomActor(keep=0.7), {"A": ActionSpace(choices=(4,))})
    record = subject.live(subject.fresh(range(600)), subject.life(600, 5))
    taken = torch.stack([outputs["action"] for outputs in record])
    assert torch.equal(taken.sum(-1), torch.ones(5, 600)) and set(taken.flatten().tolist()) == {0, 1}
    assert torch.allclose(taken.mean((0, 1)), torch.full((4,), 0.25), atol=0.04)
    same = (taken[1:].argmax(-1) == taken[:-1].argmax(-1)).float().mean().item()
    assert same == pytest.approx(0.7 + 0.3 / 4, abs=0.04)


def test_it_keeps_the_contract_where_actions_are_choices():
    check_actor(RandomActor, dims={"A": ActionSpace(choices=(3,))})


def test_no_action_is_longer_than_1():
    lengths = noise(0.8, 3.0).norm(dim=-1)
    assert lengths.max() <= 1 + 1e-6
    assert lengths.median() == pytest.approx(1)


@pytest.mark.parametrize(("settings", "words"), [
    ({"rho": 1.0}, "RandomActor.rho is 1.0: expected 0 or more and less than 1"),
    ({"keep": -0.1}, "RandomActor.keep is -0.1: expected 0 or more and less than 1"),
    ({"sigma": 0.0}, "RandomActor.sigma is 0.0: expected more than 0"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        RandomActor(**settings)
    assert str(error.value) == words
