"""Vectors of one scale, whatever the world's units."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_perception
from ami.testing.subject import Subject
from modules.perception.vector import Vector

SEEN = torch.tensor([[0.0, 100.0, 7.0], [2.0, 300.0, 7.0], [4.0, 500.0, 7.0]])


def vector(**settings):
    return Subject(lambda: Vector(**settings), {"O": (3,)}).fresh([0])


@pytest.mark.parametrize("settings", [{}, {"width": 4}, {"standardise": False}])
@pytest.mark.parametrize("size", [(3,), (2, 3)])
def test_it_keeps_the_contract(settings, size):
    check_perception(lambda: Vector(**settings), dims={"O": size})


def test_before_anything_was_measured_numbers_are_passed_on():
    assert torch.equal(vector().encode(SEEN), SEEN)


def test_what_was_seen_gets_mean_0_and_spread_1_and_what_never_varied_keeps_its_unit():
    perception = vector()
    perception.measure({"observation": SEEN})
    percept = perception.encode(SEEN)
    assert torch.allclose(percept.mean(0), torch.zeros(3)) and torch.allclose(percept.std(0), torch.tensor([1.0, 1, 0]))
    assert perception.encode(torch.tensor([2.0, 300, 9])).tolist() == [0, 0, 2]


def test_symbols_may_stay_as_they_are():
    perception = vector(standardise=False)
    perception.measure({"observation": SEEN})
    assert torch.equal(perception.encode(SEEN), SEEN)


def test_with_a_width_it_learns():
    perception = vector(width=5)
    assert perception.dims["P"] == (5,) and perception.encode(SEEN).shape == (3, 5)
    assert sum(p.numel() for p in vector().parameters()) == 0 < sum(p.numel() for p in perception.parameters())


@pytest.mark.parametrize(("settings", "words"), [
    ({"width": -1}, "Vector.width is -1: expected 0, for no MLP, or more"),
    ({"hidden": 0}, "Vector.hidden is 0: expected 1 or more"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        Vector(**settings)
    assert str(error.value) == words
