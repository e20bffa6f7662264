"""The fixed configurator: one mode, one set of weights."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_configurator
from ami.testing.subject import Subject
from modules.configurator.fixed import FixedConfigurator


@pytest.mark.parametrize("settings", [{}, {"mode": 1, "weights": [1.0, 0.5, 2.0]}])
def test_contract(settings):
    check_configurator(lambda: FixedConfigurator(**settings))


def test_defaults_are_mode_2_and_weights_of_1():
    subject = Subject(FixedConfigurator, {"W": 3})
    (outputs,) = subject.run(subject.fresh([0, 1]), [{"energy": None, "surprise": None}])
    assert outputs["mode"].tolist() == [2, 2]
    assert torch.equal(outputs["weights"], torch.ones(2, 3))


def test_weights_decide_the_number_of_terms():
    assert FixedConfigurator(weights=[1, 2]).infer_dims({}) == {"W": 2}


def test_an_unknown_mode_is_refused():
    with pytest.raises(SettingError) as error:
        FixedConfigurator(mode=3)
    assert str(error.value) == "FixedConfigurator.mode is 3: expected 1 (react) or 2 (plan)"


def test_a_negative_weight_is_refused():
    with pytest.raises(SettingError) as error:
        FixedConfigurator(weights=[1, -2])
    assert str(error.value) == "FixedConfigurator.weights is [1, -2]: expected numbers of 0 or more"
