"""Short-term memory: triplets of time, state and intrinsic energy; perceived states have priority."""

import pytest
import torch

from ami.config.compose import compose, to_graph
from ami.errors import SettingError
from ami.testing import check_memory
from ami.testing.stubs import StubCost
from ami.testing.subject import Subject
from modules.memory.short_term import ShortTerm


def fed(states, imagined=None, **settings):
    """A memory of one world that received these states (numbers) and imagined states, all with the goal 0."""
    subject = Subject(lambda: ShortTerm(**{"top_k": 1, "num_slots": 4, **settings}), {"S": (1,), "H": 2},
                      calls={"cost": StubCost()})
    module = subject.fresh([0])
    sequence = [{"state": torch.tensor([[float(state)]]), "energy": torch.tensor([float(state) ** 2]), "surprise": None,
             "imagined": None if imagined is None else torch.tensor(imagined[tick]).float().view(1, 2, 1),
             "goal": torch.zeros(1, 1)} for tick, state in enumerate(states)]
    return module, subject.run(module, sequence)


def kept(module):
    """The triplets with their mark, by time: (time, state, energy, imagined)."""
    carry = {name: value[0] for name, value in module.carry.items()}
    filled = carry["written"] >= 0
    return sorted((int(t), round(float(k), 2), round(float(e), 2), bool(i)) for t, k, e, i in zip(
        carry["times"][filled], carry["keys"][filled, 0], carry["energies"][filled], carry["imagined"][filled], strict=True))


@pytest.mark.parametrize("settings", [{}, {"num_slots": 2, "top_k": 2}, {"top_k": 1, "rate": 0.0}])
def test_contract(settings):
    check_memory(lambda: ShortTerm(**settings))


def test_nearest_are_the_kept_states_or_the_present_one():
    _, record = fed([3, 7, 4], top_k=2)
    assert [outputs["nearest"][0, :, 0].tolist() for outputs in record] == [[3, 3], [3, 7], [3, 7]]


def test_contract_with_token_states():
    check_memory(ShortTerm, dims={"S": (2, 3)})


def test_perceived_states_are_kept_with_time_and_energy():
    module, record = fed([1, 3, 3])
    assert kept(module) == [(0, 1.0, 1.0, False), (2, 3.0, 9.0, False)]
    assert record[2]["recall"].item() == pytest.approx(3)
    assert record[2]["energy"].item() == pytest.approx(9)
    assert record[2]["imagined"].item() == 0


def test_imagined_states_are_kept_with_future_time_energy_and_mark():
    module, _ = fed([1, 2], imagined=[[0, 0], [5, 6]])
    assert kept(module) == [(0, 1.0, 1.0, False), (1, 2.0, 4.0, False), (1, 5.0, 25.0, True), (2, 6.0, 36.0, True)]


def test_initial_imagined_message_is_not_kept():
    module, _ = fed([1], imagined=[[5, 6]])
    assert kept(module) == [(0, 1.0, 1.0, False)]


def test_recall_reports_its_imagined_share():
    _, record = fed([1, 2, 6], imagined=[[0, 0], [5, 6], [6, 6]])
    assert record[2]["recall"].item() == pytest.approx(6)
    assert record[2]["energy"].item() == pytest.approx(36)
    assert record[2]["imagined"].item() == 1


def test_perceived_state_overwrites_a_near_imagined_one():
    module, _ = fed([1, 2, 6.06], imagined=[[0, 0], [5, 6], [5, 5]])
    assert (2, 6.06, 36.72, False) in kept(module)
    assert not any(state == 6.0 for _, state, _, _ in kept(module))


def test_imagined_state_leaves_a_near_perceived_one():
    module, _ = fed([1, 3], imagined=[[0, 0], [1.05, 1.05]])
    assert kept(module) == [(0, 1.0, 1.0, False), (1, 3.0, 9.0, False)]


def test_full_memory_overwrites_imagined_states_first():
    module, _ = fed([1, 2, 9, 12], imagined=[[0, 0], [5, 6], [1, 1], [1, 1]])
    assert [entry[1] for entry in kept(module)] == [1.0, 2.0, 9.0, 12.0]


def test_imagined_states_without_a_cost_are_refused_with_a_fix():
    graph = ["memory=short_term", "graph.memory.imagined=planner.imagined@-1"]
    to_graph(compose(graph))  # the missing cost is noticed when imagined states arrive
    subject = Subject(ShortTerm, {"S": (1,)})
    module = subject.fresh([0])
    (inputs,) = subject.sample_inputs(1, 1)
    with pytest.raises(SettingError) as error:
        subject.run(module, [{**inputs, "goal": None}])
    assert str(error.value) == (
        "ShortTerm receives imagined states without their intrinsic energy. Fix: graph.memory.goal=goal.goal "
        "and graph.memory.calls.cost=cost, or ~graph.memory.imagined")


@pytest.mark.parametrize(("settings", "words"), [
    ({"num_slots": 0}, "ShortTerm.num_slots is 0: expected 1 or more"),
    ({"top_k": 65}, "ShortTerm.top_k is 65: expected 1 to num_slots, 64"),
    ({"temperature": 0}, "ShortTerm.temperature is 0: expected more than 0"),
    ({"novelty": -1}, "ShortTerm.novelty is -1: expected 0 or more"),
    ({"rate": 2}, "ShortTerm.rate is 2: expected 0 to 1"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        ShortTerm(**settings)
    assert str(error.value) == words
