"""The answers of a map that memories of states give: wanted, relief, places, kept and links."""

import pytest
import torch

from ami.testing.subject import Subject
from modules.memory.episodic import Episodic
from modules.memory.none import NoMemory
from modules.memory.short_term import ShortTerm


def answers(memory, states, energies, goal):
    """The last outputs of a memory of one world that received these states and energies, all numbers, and a goal."""
    subject = Subject(memory, {"S": (1,), "Q": (1,), "H": 2})
    sequence = [{"state": torch.tensor([[float(state)]]), "energy": torch.tensor([float(energy)]), "surprise": None}
                for state, energy in zip(states, energies, strict=True)]
    optional = {name: None for name in ("goal", "imagined") if name in subject.draft.inputs}
    if goal is not None:
        optional["goal"] = torch.tensor([[float(goal)]])
    return subject.run(subject.fresh([0]), [{**inputs, **optional} for inputs in sequence])[-1]


@pytest.fixture(params=[Episodic, ShortTerm])
def made(request):
    return lambda: request.param(num_slots=4, top_k=1)


def test_wanted_is_the_kept_state_nearest_to_the_goal(made):
    outputs = answers(made, [3, 7, 9], [1, 1, 1], goal=7)
    assert outputs["wanted"].item() == 7 and outputs["wanted_score"].item() == pytest.approx(1)


def test_a_goal_far_from_all_slots_has_a_low_score(made):
    assert answers(made, [3, 7, 9], [1, 1, 1], goal=20)["wanted_score"].item() < 1e-6


def test_nothing_is_wanted_without_a_goal(made):
    outputs = answers(made, [3, 7, 9], [1, 1, 1], goal=None)
    assert outputs["wanted"].item() == outputs["wanted_score"].item() == 0


def test_relief_is_the_slot_of_the_least_energy(made):
    outputs = answers(made, [3, 7, 9, 1], [4, 2, 5, 0], goal=7)  # the last state is written after the answers
    assert outputs["relief"].item() == 7 and outputs["relief_score"].item() == 1


def test_places_are_the_slots_without_links(made):
    outputs = answers(made, [3, 7, 9], [1, 1, 1], goal=7)
    assert outputs["places"][0, outputs["kept"][0]].tolist() == [[3], [7]]
    assert outputs["links"].tolist() == [[[-1]] * 4]


def test_an_empty_memory_has_score_0(made):
    outputs = answers(made, [3], [1], goal=3)
    assert outputs["wanted_score"].item() == outputs["relief_score"].item() == 0
    assert not outputs["kept"].any()


def test_no_memory_answers_nothing():
    outputs = answers(NoMemory, [3, 7], [1, 2], goal=None)
    assert not outputs["kept"].any() and bool((outputs["links"] == -1).all())
    assert outputs["wanted_score"].item() == outputs["relief_score"].item() == 0
