"""Wandering: full speed, one heading until a bump or a turn by chance."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.wander import Wander


def headings(turn, bumps):
    """The actions (T, B, 2) of ticks with bumps (T, B)."""
    subject = Subject(lambda: Wander(turn), {"Y": (3,)})
    ticks, rows = bumps.shape
    inputs = subject.sample_inputs(rows, ticks)
    for given, bump in zip(inputs, bumps, strict=True):
        given["body"] = torch.stack([torch.ones(rows), torch.zeros(rows), bump], dim=1)
    return torch.stack([outputs["action"] for outputs in subject.run(subject.fresh(range(rows)), inputs)])


def test_contract():
    check_actor(Wander, dims={"Y": (3,)})


def test_full_speed_in_directions_that_differ_between_rows():
    actions = headings(0.0, torch.zeros(1, 50))[0]
    assert torch.allclose(torch.linalg.vector_norm(actions, dim=1), torch.ones(50))
    assert actions.std(0).min() > 0.5


def test_a_bump_changes_the_heading_and_nothing_else_does():
    bumps = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    first, second, third = headings(0.0, bumps)
    assert (first == second).all(1).tolist() == [True, False, True] and torch.equal(second, third)


def test_headings_change_by_chance():
    actions = headings(0.06, torch.zeros(40, 200))
    assert (actions[1:] != actions[:-1]).any(2).double().mean().item() == pytest.approx(0.06, abs=0.01)


@pytest.mark.parametrize(("settings", "words"), [
    ({"turn": 1.5}, "Wander.turn is 1.5: expected 0 to 1"),
    ({"bump": -1}, "Wander.bump is -1: expected an index, 0 or more"),
])
def test_invalid_settings_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        Wander(**settings)
    assert str(error.value) == words


def test_a_body_without_the_entry_is_refused():
    with pytest.raises(SettingError) as error:
        Subject(Wander, {"Y": (2,)}).fresh([0])
    assert str(error.value) == "Wander.bump is 2, but body has the shape (2,): expected a vector with that entry"
