"""Actions of a script on the true state: what the script returns, clipped."""

import numpy as np
import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.state_script import StateScript


class Doubled:
    """A script that returns twice the first numbers of the true state."""

    def __init__(self, width=2):
        self.width = width

    def action(self, truth):
        return 2 * truth[:, :self.width]


DIMS = {"M": (5,), "S": (2,), "Q": (2,)}


def test_contract():
    check_actor(lambda: StateScript(Doubled()), dims=DIMS)


def test_the_scripts_action_is_clipped():
    subject = Subject(lambda: StateScript(Doubled()), DIMS)
    (inputs,) = subject.sample_inputs(3, 1)
    (outputs,) = subject.run(subject.fresh([0, 1, 2]), [inputs])
    assert torch.allclose(outputs["action"], torch.as_tensor(2 * np.asarray(inputs["truth"])[:, :2]).clamp(-1, 1))


def test_wrong_scripts_are_refused():
    with pytest.raises(SettingError) as error:
        StateScript(object())
    assert str(error.value) == ("StateScript.script, a object, has no action: expected an object with action(truth) on "
                                "numpy arrays")
    subject = Subject(lambda: StateScript(Doubled(3)), DIMS)
    (inputs,) = subject.sample_inputs(3, 1)
    with pytest.raises(SettingError, match=r"returned actions of shape \(3, 3\) for 3 states: expected \(3, 2\)"):
        subject.run(subject.fresh([0, 1, 2]), [inputs])
