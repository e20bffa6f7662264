"""Cognitive map: slots by context and distance, links, relief, and answers to percepts and goals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import SettingError
from ami.module import Episode
from modules.memory.cognitive_map import CognitiveMap
from tests.support.corridors import calling_rooms, state

NOWHERE = state(9, 0)


def memory(batch: int = 1, shift: float = 0.0, **given) -> CognitiveMap:
    made = calling_rooms(CognitiveMap(**{"num_slots": 6, "num_links": 2, "top_k": 1, "spacing": 1.0, **given}), shift=shift)
    made.set_up({"S": (3,), "Q": (3,), "P": (3,), "N": made.num_slots, "L": made.num_links})
    made.begin(torch.ones(batch, dtype=torch.bool), [Episode(number, seed=0) for number in range(batch)])
    return made


def walk(made: CognitiveMap, states, energies=None, goal=NOWHERE):
    """Send the states one after another, each as the percept of its tick; return the last outputs."""
    energies = energies or [0.0] * len(states)
    before, felt, outputs = [0.0] * 3, 0.0, {}
    for now, energy in zip([*states, states[-1]], [*energies, energies[-1]], strict=True):
        outputs = made.step(state=torch.tensor([before]), energy=torch.tensor([felt]), percept=torch.tensor([now]),
                            goal=torch.tensor([goal]))
        before, felt = now, energy
    return outputs


def links(outputs) -> set[tuple[int, int]]:
    return {(slot, int(other)) for slot, row in enumerate(outputs["links"][0]) for other in row if other >= 0}


def kept(outputs) -> list[list[float]]:
    return outputs["places"][0, outputs["kept"][0]].tolist()


def test_a_state_near_a_slot_makes_no_new_one():
    assert kept(walk(memory(), [state(0, 0), state(0, 0.5), state(0, 2)])) == [state(0, 0), state(0, 2)]


def test_the_same_place_in_another_context_is_another_slot():
    assert kept(walk(memory(), [state(0, 0), state(1, 0)])) == [state(0, 0), state(1, 0)]


def test_slots_that_followed_each_other_are_linked_both_ways():
    outputs = walk(memory(), [state(0, 0), state(0, 2), state(1, 4)])
    assert links(outputs) == {(0, 1), (1, 0), (1, 2), (2, 1)}


def test_a_full_memory_overwrites_the_oldest_slot_and_drops_its_links():
    outputs = walk(memory(num_slots=3), [state(0, 0), state(0, 2), state(0, 4), state(0, 6)])
    assert kept(outputs) == [state(0, 6), state(0, 2), state(0, 4)]
    assert links(outputs) == {(1, 2), (2, 1), (2, 0), (0, 2)}


def test_the_previous_state_is_written_before_the_percept_is_read():
    outputs = walk(memory(), [state(3, 5)])
    assert outputs["recall"].tolist() == [state(3, 5)]
    assert outputs["score"].item() == pytest.approx(1)


def test_nothing_is_known_at_first():
    made = memory()
    outputs = made.step(state=torch.zeros(1, 3), energy=torch.zeros(1), percept=torch.zeros(1, 3), goal=torch.zeros(1, 3))
    assert outputs["score"].item() == outputs["wanted_score"].item() == outputs["relief_score"].item() == 0
    assert not outputs["kept"].any()


def test_a_goal_is_found_in_its_own_context():
    outputs = walk(memory(), [state(0, 0), state(1, 4), state(2, 8)], goal=state(1, 3))
    assert outputs["wanted"].tolist() == [state(1, 3)]
    assert outputs["wanted_score"].item() == pytest.approx(1)


def test_an_unseen_context_has_a_low_score():
    assert walk(memory(), [state(0, 0)], goal=state(7, 0))["wanted_score"].item() < 0.01


def test_relief_is_where_the_energy_fell():
    outputs = walk(memory(), [state(0, 0), state(0, 2), state(1, 4), state(1, 6)], energies=[1.0, 1.2, 0.1, 0.3])
    assert outputs["relief"].tolist() == [state(1, 4)]
    assert outputs["relief_score"].item() == 1


def test_relief_near_a_barrier_counts_no_more_than_its_share_of_the_level():
    outputs = walk(memory(), [state(0, 0), state(0, 2), state(1, 4), state(1, 6)],
                   energies=[6.0, 2.0, 1.0, 1.0])  # a fall of 4 to a level of 0.14, then one of 1 to 0.37
    assert outputs["relief"].tolist() == [state(1, 4)]


def test_relief_felt_around_a_place_is_in_its_middle():
    outputs = walk(memory(), [state(0, 0), state(0, 2), state(0, 4)], energies=[0.5, 0.4, 0.3])
    assert 2 < outputs["relief"][0, 1].item() < 4


def test_rows_are_independent_and_a_new_episode_forgets():
    made = memory(batch=2)
    for now in (state(0, 0), state(0, 2), state(0, 4)):
        rows = torch.tensor([now, state(5, 0)])
        outputs = made.step(state=rows, energy=torch.zeros(2), percept=rows, goal=rows)
    assert outputs["kept"].sum(1).tolist() == [2, 1]
    made.begin(torch.tensor([True, False]), [Episode(7, seed=0), Episode(1, seed=0)])
    outputs = made.step(state=rows, energy=torch.zeros(2), percept=rows, goal=rows)
    assert outputs["kept"].sum(1).tolist() == [0, 1]


def test_a_restored_memory_still_knows_the_house():
    made, other = memory(), memory()
    walk(made, [state(0, 0), state(0, 2), state(1, 4)])
    other.restore(made.snapshot())
    inputs = {"state": torch.tensor([state(1, 4)]), "energy": torch.zeros(1), "percept": torch.tensor([state(0, 2)]),
              "goal": torch.tensor([state(1, 3)])}
    found, expected = other.step(**inputs), made.step(**inputs)
    assert found["wanted"].tolist() == [state(1, 3)]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_sent_slots_and_links_never_change():
    made = memory()
    sent = walk(made, [state(0, 0), state(0, 2)])
    before = {name: value.clone() for name, value in sent.items()}
    walk(made, [state(1, 4), state(1, 6), state(0, 0)])
    assert all(torch.equal(sent[name], before[name]) for name in sent)


def test_unchanged_slots_are_sent_without_a_copy():
    made = memory()
    first, second = (walk(made, [state(0, 0), state(0, 0)]) for _ in range(2))
    assert first["places"] is second["places"] and first["links"] is second["links"]


def test_new_weights_change_the_contexts_of_kept_states(monkeypatch):
    made = memory()
    walk(made, [state(0, 0), state(1, 4)])
    assert walk(made, [state(1, 4)], goal=state(0, 0))["wanted_score"].item() == pytest.approx(1)
    monkeypatch.setattr(made.calls.world_model, "context", lambda states: states[..., :1] + 5)
    made.weights_changed()
    assert made.carry["keys"][0, 0, :2].tolist() == [5, 6]
    assert bool((made.carry["lengths"][0, 2:] > 1e29).all())


ROOM = [state(0, 0), state(0, 2), state(3, 4)]
CHANGED = state(0.5, 2.5)  # the first room again, where its second place is


def test_a_changed_look_at_a_known_place_renews_all_slots_of_its_room():
    outputs = walk(memory(), [*ROOM, CHANGED])
    assert kept(outputs) == [state(0.5, 0), state(0.5, 2), state(3, 4)]
    assert links(outputs) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert outputs["score"].item() == pytest.approx(1)


@pytest.mark.parametrize("given, seen", [
    ({"changed": 0}, CHANGED),
    ({"changed": 0.2}, CHANGED),  # d² is .25
    ({"shift": 8.0, "drift": 2.0}, CHANGED),  # the known room would show the agent elsewhere
    ({}, state(1.5, 2.5)),
])
def test_another_look_is_another_room(given, seen):
    assert kept(walk(memory(**given), [*ROOM, seen])) == [*ROOM, seen]


def test_a_renewed_room_is_found_by_its_old_picture():
    assert walk(memory(), [*ROOM, CHANGED], goal=state(0, 1))["wanted"].tolist() == [state(0.5, 1)]


def test_sent_slots_do_not_change_when_a_room_is_renewed():
    made = memory()
    sent = walk(made, ROOM)["places"]
    before = sent.clone()
    assert not torch.equal(walk(made, [CHANGED])["places"], before)
    assert torch.equal(sent, before)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 0.5, 1, 3, 3.5]), st.integers(0, 9)), min_size=1, max_size=25))
def test_keys_are_the_contexts_of_slots_however_rooms_change(steps):
    made = memory()
    outputs = walk(made, [state(*one) for one in steps])
    number = len(kept(outputs))
    assert torch.equal(made.carry["keys"][0, 0, :number], outputs["places"][0, :number, 0])
    assert torch.equal(made.carry["lengths"][0, :number], outputs["places"][0, :number, 0].square())
    assert bool((made.carry["lengths"][0, number:] > 1e29).all())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=25))
def test_slots_stay_apart_and_links_lead_to_slots(steps):
    outputs = walk(memory(), [state(*one) for one in steps])
    slots = kept(outputs)
    assert 1 <= len(slots) <= 6
    assert all(one[0] != other[0] or abs(one[1] - other[1]) > 1 for i, one in enumerate(slots) for other in slots[:i])
    number = len(slots)
    assert all(0 <= slot < number and 0 <= other < number and slot != other for slot, other in links(outputs))


@pytest.mark.parametrize("given, message", [
    ({"num_slots": 0}, "CognitiveMap.num_slots is 0: expected 1 or more"),
    ({"top_k": 7}, "CognitiveMap.top_k is 7: expected 1 to num_slots, 6"),
    ({"same": 0}, "CognitiveMap.same is 0: expected more than 0"),
    ({"drift": -1}, "CognitiveMap.drift is -1: expected 0 or more"),
])
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(SettingError) as refusal:
        memory(**given)
    assert str(refusal.value) == message


def kept_after(made: CognitiveMap, first: dict, second: dict) -> list[list[float]]:
    """The slots that a row keeps of an episode with the first options in one with the second options."""
    made.begin(torch.ones(1, dtype=torch.bool), [Episode(0, 0, first)])
    walk(made, [state(0, 0), state(0, 2)])
    made.begin(torch.ones(1, dtype=torch.bool), [Episode(1, 1, second)])
    return kept(walk(made, [state(0, 2.125)]))


HOUSE = {"doors": [4.0, 0.0], "look": 3, "goals": [[1.0, 2.0]]}


def test_slots_are_kept_in_the_same_house():
    found = kept_after(memory(keep_if=["doors", "look"]), HOUSE, {**HOUSE, "goals": [[5.0, 6.0]]})
    assert found == [state(0, 0), state(0, 2)]


@pytest.mark.parametrize("first, second", [(HOUSE, {**HOUSE, "look": 4}), (HOUSE, {**HOUSE, "doors": [4.0, 5.0]}), ({}, {})])
def test_slots_are_forgotten_in_another_house(first, second):
    assert kept_after(memory(keep_if=["doors", "look"]), first, second) == [state(0, 2.125)]


def test_slots_are_forgotten_by_default():
    assert kept_after(memory(), HOUSE, HOUSE) == [state(0, 2.125)]


def test_the_first_state_of_a_kept_house_is_not_linked_to_the_last_one():
    made = memory(keep_if=["look"])
    made.begin(torch.ones(1, dtype=torch.bool), [Episode(0, 0, HOUSE)])
    walk(made, [state(0, 0), state(0, 2), state(1, 4)])
    made.begin(torch.ones(1, dtype=torch.bool), [Episode(1, 1, HOUSE)])
    assert links(walk(made, [state(0, 0)])) == {(0, 1), (1, 0), (1, 2), (2, 1)}


def test_an_option_that_episodes_lack_is_refused():
    with pytest.raises(SettingError) as refusal:
        kept_after(memory(keep_if=["dors"]), HOUSE, HOUSE)
    assert str(refusal.value) == ("CognitiveMap.keep_if names 'dors', which the options of an episode lack. "
                                  "Fix: some of doors, look, goals")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=30))
def test_an_answer_that_still_holds_is_that_of_a_search(steps):
    kept_answers, searching = memory(top_k=2), memory(top_k=2)
    before = torch.zeros(1, 3)
    for room, x, wanted in steps:
        now = torch.tensor([state(room, x)])
        inputs = {"state": before, "energy": torch.zeros(1), "percept": now, "goal": torch.tensor([state(wanted // 2, 5)])}
        searching.weights_changed()  # nothing is kept from the tick before
        found, expected = kept_answers.step(**inputs), searching.step(**inputs)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        before = now


def test_a_state_whose_context_was_not_seen_is_written_by_its_own():
    made = memory()
    walk(made, [state(0, 0), state(1, 0)])
    inputs = {"energy": torch.zeros(1), "percept": torch.tensor([state(2, 0)]), "goal": torch.tensor([NOWHERE])}
    outputs = made.step(state=torch.tensor([state(0, 0.5)]), **inputs)  # the percept before was in room 1
    assert kept(outputs) == [state(0, 0), state(1, 0)]
