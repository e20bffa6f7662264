"""The random actor: autocorrelated, stationary from the first tick, of norm 1 at most."""

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
    record = subject.run(subject.fresh(range(rows)), subject.sample_inputs(rows, ticks))
    return torch.stack([outputs["action"] for outputs in record])


def test_contract():
    check_actor(RandomActor)


def test_noise_is_stationary_from_the_first_action():
    std = noise(0.8, 0.1).std((1, 2))
    assert torch.allclose(std, torch.full((6,), 0.1), atol=0.008)


def test_noise_is_autocorrelated():
    drawn = noise(0.8, 0.1)
    correlation = (drawn[1:] * drawn[:-1]).mean() / drawn.square().mean()
    assert correlation.item() == pytest.approx(0.8, abs=0.05)


def test_noise_without_rho_is_white():
    drawn = noise(0.0, 0.1)
    assert abs((drawn[1:] * drawn[:-1]).mean() / drawn.square().mean()) < 0.05


def test_sticky_choices_and_uniform_draws():
    subject = Subject(lambda: RandomActor(stickiness=0.7), {"A": ActionSpace(choices=(4,))})
    record = subject.run(subject.fresh(range(600)), subject.sample_inputs(600, 5))
    taken = torch.stack([outputs["action"] for outputs in record])
    assert torch.equal(taken.sum(-1), torch.ones(5, 600)) and set(taken.flatten().tolist()) == {0, 1}
    assert torch.allclose(taken.mean((0, 1)), torch.full((4,), 0.25), atol=0.04)
    same = (taken[1:].argmax(-1) == taken[:-1].argmax(-1)).float().mean().item()
    assert same == pytest.approx(0.7 + 0.3 / 4, abs=0.04)


def test_contract_with_discrete_actions():
    check_actor(RandomActor, dims={"A": ActionSpace(choices=(3,))})


def test_action_norm_is_at_most_1():
    lengths = noise(0.8, 3.0).norm(dim=-1)
    assert lengths.max() <= 1 + 1e-6
    assert lengths.median() == pytest.approx(1)


@pytest.mark.parametrize(("settings", "words"), [
    ({"rho": 1.0}, "RandomActor.rho is 1.0: expected 0 or more and less than 1"),
    ({"stickiness": -0.1}, "RandomActor.stickiness is -0.1: expected 0 or more and less than 1"),
    ({"sigma": 0.0}, "RandomActor.sigma is 0.0: expected more than 0"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        RandomActor(**settings)
    assert str(error.value) == words
