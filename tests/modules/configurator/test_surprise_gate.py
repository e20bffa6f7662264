"""The surprise gate: Mode-2 at first, on surprise and if energy does not fall, in any units."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_configurator
from ami.testing.subject import Subject
from modules.configurator.surprise_gate import SurpriseGate


def test_contract():
    check_configurator(SurpriseGate)


def modes(energy, surprise=None, **settings):
    """The modes of one world, tick by tick; the input energy is one tick old, and 0 at first."""
    subject = Subject(lambda: SurpriseGate(**settings))
    surprise = surprise or [0.0] + [0.1] * (len(energy) - 1)
    sequence = [{"energy": torch.tensor([float(e)]), "surprise": torch.tensor([float(s)])}
            for e, s in zip(energy, surprise, strict=True)]
    return [int(outputs["mode"]) for outputs in subject.run(subject.fresh([0]), sequence)]


FALLING = [0, 9, 8, 7, 6, 5, 4, 3]


def test_plans_at_first_and_reacts_while_energy_falls():
    assert modes(FALLING) == [2, 1, 1, 1, 1, 1, 1, 1]


def test_surprise_is_relative_to_its_mean():
    assert modes(FALLING, [0, 0.1, 0.2, 0.1, 0.9, 0.1, 0.1, 0.1], hold=2) == [2, 1, 1, 1, 2, 2, 1, 1]


def test_plans_after_patience_without_falling_energy():
    assert modes([0, 9, 8, 8, 8, 8, 8, 8, 8], patience=2, hold=1) == [2, 1, 1, 1, 2, 1, 2, 1, 2]


def test_new_minimum_resets_patience():
    assert modes([0, 9, 8, 8, 7, 7, 6, 6], patience=2) == [2, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("scale", "shift"), [(1000, 0), (0.001, 0), (1, -50)])
def test_modes_are_invariant_to_units(scale, shift):
    energy = torch.rand(30, generator=torch.Generator().manual_seed(1)).tolist()
    surprise = (torch.rand(30, generator=torch.Generator().manual_seed(2)) ** 4).tolist()
    scaled = [e * scale + shift for e in energy], [s * scale for s in surprise]
    plain = modes(energy, surprise)
    assert modes(*scaled) == plain and {1, 2} == set(plain[1:])


def test_worlds_are_gated_independently():
    subject = Subject(SurpriseGate)
    sequence = [{"energy": torch.tensor([float(9 - t), 5.0]), "surprise": torch.zeros(2)} for t in range(6)]
    record = torch.stack([outputs["mode"] for outputs in subject.run(subject.fresh([0, 1]), sequence)])
    assert record[:, 0].tolist() == [2, 1, 1, 1, 1, 1] and record[:, 1].tolist() == [2, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(("settings", "words"), [
    ({"factor": 0}, "SurpriseGate.factor is 0: expected more than 0"),
    ({"rate": 0}, "SurpriseGate.rate is 0: expected more than 0, at most 1"),
    ({"patience": 0}, "SurpriseGate.patience is 0: expected 1 or more"),
    ({"hold": 0}, "SurpriseGate.hold is 0: expected 1 or more"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        SurpriseGate(**settings)
    assert str(error.value) == words
