"""Vectors: standardised observations, for any units."""

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
def test_contract(settings, size):
    check_perception(lambda: Vector(**settings), dims={"O": size})


def test_numbers_are_unchanged_before_measure():
    assert torch.equal(vector().encode(SEEN), SEEN)


def test_measured_numbers_are_standardised_except_constant_ones():
    perception = vector()
    perception.fit_statistics({"observation": SEEN})
    percept = perception.encode(SEEN)
    assert torch.allclose(percept.mean(0), torch.zeros(3)) and torch.allclose(percept.std(0), torch.tensor([1.0, 1, 0]))
    assert perception.encode(torch.tensor([2.0, 300, 9])).tolist() == [0, 0, 2]


def test_standardise_false_leaves_numbers_unchanged():
    perception = vector(standardise=False)
    perception.fit_statistics({"observation": SEEN})
    assert torch.equal(perception.encode(SEEN), SEEN)


def test_width_adds_a_trainable_mlp():
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
