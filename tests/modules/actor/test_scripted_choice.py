"""Scripted choice: one-hot actions of a script."""

import numpy as np
import pytest
import torch

from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.testing import check_actor
from modules.actor.scripted_choice import ScriptedChoice


class Parity:
    """Chooses the parity of the map's first number."""

    def choose(self, map: np.ndarray) -> np.ndarray:
        return map[:, 0].astype(int) % 2


def test_contract():
    check_actor(lambda: ScriptedChoice(Parity()), dims={"A": ActionSpace(0, (2,)), "M": (3,)})


def test_it_sends_the_choice_of_the_script():
    made = ScriptedChoice(Parity())
    made.set_up({"A": 2, "S": (1,), "Q": (1,), "M": (1,), "H": 1, "U": 2}, ActionSpace(0, (2,)))
    empty = torch.zeros(3, 1)
    sent = made.step(empty, empty, torch.ones(3, dtype=torch.int64), torch.tensor([[0.0], [1.0], [4.0]]))["action"]
    assert sent.tolist() == [[1, 0], [0, 1], [1, 0]]


def test_an_object_without_choose_is_refused():
    with pytest.raises(SettingError, match=r"ScriptedChoice\.script, a dict, has no choose: expected an object with choose"):
        ScriptedChoice({})


def test_actions_of_several_choices_are_refused():
    with pytest.raises(SettingError, match=r"ScriptedChoice makes one choice, but here an action is .* Fix: actor=scripted"):
        ScriptedChoice(Parity()).set_up({"A": 4}, ActionSpace(0, (2, 2)))
