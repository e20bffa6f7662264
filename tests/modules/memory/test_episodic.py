"""Episodic memory: recall, new slots and overwriting."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_memory
from ami.testing.subject import Subject
from modules.memory.episodic import Episodic
from tests.support.episodes import numbered


def fed(states, energies=None, **settings):
    """A memory of one world that received these states (numbers), and its outputs."""
    subject = Subject(lambda: Episodic(**{"top_k": 1, "num_slots": 4, **settings}), {"S": (1,)})
    module = subject.fresh([0])
    energies = energies or [0.0] * len(states)
    sequence = [{"state": torch.tensor([[float(state)]]), "energy": torch.tensor([float(energy)]), "surprise": None}
            for state, energy in zip(states, energies, strict=True)]
    return module, subject.run(module, sequence)


def kept(module):
    filled = module.carry["written"][0] >= 0
    return sorted(round(key.item(), 3) for key in module.carry["keys"][0, filled, 0])


@pytest.mark.parametrize("settings", [{}, {"num_slots": 2, "top_k": 2}, {"top_k": 1, "rate": 0.0}])
def test_contract(settings):
    check_memory(lambda: Episodic(**settings))


def test_contract_with_token_states():
    check_memory(Episodic, dims={"S": (2, 3)})


def test_nearest_are_the_kept_states_or_the_present_one():
    _, record = fed([3, 7, 1, 4.5], top_k=3)
    nearest = [[round(value, 3) for value in outputs["nearest"][0, :, 0].tolist()] for outputs in record]
    assert nearest == [[3, 3, 3], [3, 7, 7], [3, 7, 1], [3, 7, 1]]


def test_nothing_is_recalled_at_first():
    _, record = fed([3])
    assert record[0]["recall"].item() == 0
    assert record[0]["score"].item() == 0


def test_repeated_state_is_recalled():
    _, record = fed([3, 8, 3])
    assert record[2]["recall"].item() == pytest.approx(3)
    assert record[2]["score"].item() == pytest.approx(1)


def test_recall_is_the_softmax_of_the_distances_over_the_top_k():
    _, record = fed([0, 1, 3, 0.5], top_k=2, temperature=0.5)
    near = torch.tensor([0.25, 0.25])
    share = torch.softmax(-near / 0.5, 0)
    assert record[3]["recall"].item() == pytest.approx((share * torch.tensor([0.0, 1.0])).sum().item())
    assert record[3]["score"].item() == pytest.approx(torch.tensor(-0.25 / 0.5).exp().item())


def test_near_state_updates_its_slot_and_energy():
    module, _ = fed([1.0, 1.08], [2, 4], rate=0.5)
    assert kept(module) == [1.04]
    assert module.carry["energies"].max().item() == pytest.approx(3)


def test_a_state_farther_than_novelty_opens_a_slot():
    module, _ = fed([1.0, 1.2, 5.0], novelty=0.1)
    assert kept(module) == [1.0, 1.2, 5.0]


def test_full_memory_overwrites_the_oldest_slot():
    module, _ = fed([1, 2, 3, 4, 1, 9], num_slots=4)
    assert kept(module) == [1, 3, 4, 9]


def test_reset_empties_all_slots():
    module, _ = fed([1, 2])
    module.begin(torch.tensor([True]), numbered([5]))
    assert kept(module) == []


@pytest.mark.parametrize(("settings", "words"), [
    ({"num_slots": 0}, "Episodic.num_slots is 0: expected 1 or more"),
    ({"top_k": 65}, "Episodic.top_k is 65: expected 1 to num_slots, 64"),
    ({"temperature": 0}, "Episodic.temperature is 0: expected more than 0"),
    ({"novelty": -1}, "Episodic.novelty is -1: expected 0 or more"),
    ({"rate": 2}, "Episodic.rate is 2: expected 0 to 1"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        Episodic(**settings)
    assert str(error.value) == words
