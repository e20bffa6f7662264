"""Scripted actions: what the script returns."""

import numpy as np
import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.scripted import Scripted


class Towards:
    """A script that walks towards the goal, as fast as the body's first entry says."""

    def velocity(self, place, goal, map, body):
        return (goal - place)[:, :2] * body[:, :1]


DIMS = {"S": (2,), "Q": (2,), "M": (5,), "Y": (3,)}


def test_contract():
    check_actor(lambda: Scripted(Towards()), dims=DIMS)


def test_the_scripts_velocity_is_the_action():
    subject = Subject(lambda: Scripted(Towards()), DIMS)
    (inputs,) = subject.sample_inputs(2, 1)
    (outputs,) = subject.run(subject.fresh([0, 1]), [inputs])
    sent = Towards().velocity(*(np.asarray(inputs[name]) for name in ("state", "goal", "map", "body")))
    assert torch.allclose(outputs["action"], torch.as_tensor(sent / np.linalg.norm(sent, axis=1, keepdims=True).clip(1)))


def test_an_object_without_velocity_is_refused():
    with pytest.raises(SettingError) as error:
        Scripted(object())
    assert str(error.value) == ("Scripted.script, a object, has no velocity: expected an object with velocity(place, goal, "
                                "map, body) on numpy arrays")
