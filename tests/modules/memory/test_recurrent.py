"""Recurrent memory: its contract, and what it recalls."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Episode
from ami.testing import check_module
from modules.memory.none import NoMemory
from modules.memory.recurrent import Recurrent

PERCEPT, STATE = 5, 8


def memory(batch: int = 2) -> Recurrent:
    torch.manual_seed(0)
    made = Recurrent()
    made.set_up({"P": (PERCEPT,), "S": (STATE,)})
    made.begin(torch.ones(batch, dtype=torch.bool), [Episode(number, seed=0) for number in range(batch)])
    return made


def recalls(made: Recurrent, percepts: torch.Tensor) -> torch.Tensor:
    empty = torch.zeros(len(percepts), STATE), torch.zeros(len(percepts))
    with torch.no_grad():
        return torch.stack([made.step(*empty, percept)["recall"] for percept in percepts.unbind(1)], dim=1)


def test_contract():
    check_module(Recurrent, dims={"P": (PERCEPT,), "S": (STATE,)})


def test_a_recall_depends_on_earlier_percepts_and_leaves_the_percept_empty():
    percepts = torch.randn(2, 4, PERCEPT, generator=torch.Generator().manual_seed(1))
    other = percepts.clone()
    other[:, 0] += 1
    one, changed = recalls(memory(), percepts), recalls(memory(), other)
    assert not torch.allclose(one[:, -1], changed[:, -1])
    assert not one[..., :PERCEPT].any() and one[..., PERCEPT:].any()


def test_a_sequence_is_recalled_as_tick_by_tick():
    percepts = torch.randn(2, 6, PERCEPT, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = memory().recall_of(percepts[:, :4], torch.zeros(2, STATE))
        rest = memory().recall_of(percepts[:, 4:], first[:, -1])
    assert torch.allclose(torch.cat([first, rest], dim=1), recalls(memory(), percepts), atol=1e-6)


def test_a_state_as_long_as_a_percept_is_refused():
    with pytest.raises(SettingError) as refusal:
        Recurrent().set_up({"P": (5,), "S": (5,)})
    assert str(refusal.value) == (
        "Recurrent remembers in what a state has beyond a percept, but a state is (5,) and a percept has 5 numbers: "
        "expected a longer vector. Fix: world_model=memory_jepa")


def test_no_memory_recalls_zeros_over_sequences():
    assert torch.equal(NoMemory().recall_of(torch.ones(2, 4, PERCEPT), torch.ones(2, STATE)), torch.zeros(2, 4, STATE))
