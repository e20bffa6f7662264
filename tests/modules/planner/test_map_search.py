"""Map search: ways over remembered states, sub-goals, doubts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.errors import SettingError
from ami.module import Episode
from modules.planner._imagined_links import REACHED
from modules.planner.map_search import FAR, MapSearch
from tests.support.corridors import calling_rooms, state

# two rooms side by side, joined by a door between (0, 4) and (1, 6), and a third one that nothing leads to
PLACES = [state(0, 0), state(0, 4), state(1, 6), state(1, 10), state(2, 20)]
LINKS = {(1, 2), (2, 1)}
SLOTS = 6


def search(doors=(), **given) -> MapSearch:
    made = calling_rooms(MapSearch(**{"hold": 1, **given}), doors=doors)
    made.set_up({"S": (3,), "Q": (3,), "N": SLOTS, "L": 2, "G": 2, "Y": 3})
    made.begin(torch.ones(1, dtype=torch.bool), [Episode(0, seed=0)])
    return made


def step(made: MapSearch, here, goal, links=LINKS, other=None, slots=PLACES, carried=None):
    places = torch.zeros(1, SLOTS, 3)
    places[0, :len(slots)] = torch.tensor(slots)
    table = torch.full((1, SLOTS, 2), -1)
    for one, two in links:
        table[0, one, int((table[0, one] >= 0).sum())] = two
    goals = torch.tensor([[goal, other or goal]])
    body = None if carried is None else torch.tensor([[1.0, float(carried), 0.0]])
    return made.step(state=torch.tensor([here]), goal=torch.tensor([goal]), places=places,
                     kept=torch.arange(SLOTS)[None] < len(slots), links=table, goals=goals, body=body)


def test_the_sub_goal_is_the_farthest_place_that_one_edge_reaches():
    outputs = step(search(near=1.0), state(0, 0), state(1, 9))
    assert outputs["subgoal"].tolist() == [state(0, 4)]
    assert outputs["energy"].item() == pytest.approx(9)


def test_a_link_of_a_near_place_reaches_the_next_room():
    assert step(search(near=2.0), state(0, 3), state(1, 9))["subgoal"].tolist() == [state(1, 6)]


def test_in_the_goals_own_room_the_sub_goal_is_the_goal():
    assert step(search(), state(1, 7), state(1, 9))["subgoal"].tolist() == [state(1, 9)]


def test_a_link_to_the_first_place_counts_beside_empty_links():
    links = {(1, 0), (1, 2), (2, 1), (0, 1)}
    made = search(near=1.0)
    places = [state(3, 0), state(0, 4), state(1, 6)]
    table = torch.full((1, SLOTS, 3), -1)
    for one, two in links:
        table[0, one, int((table[0, one] >= 0).sum())] = two
    made.set_up({"S": (3,), "Q": (3,), "N": SLOTS, "L": 3, "G": 2})
    padded = torch.zeros(1, SLOTS, 3)
    padded[0, :3] = torch.tensor(places)
    goal = torch.tensor([state(3, 0)])
    outputs = made.step(state=torch.tensor([state(0, 4)]), goal=goal, places=padded, kept=torch.arange(SLOTS)[None] < 3,
                        links=table, goals=goal[:, None].expand(1, 2, 3))
    assert outputs["energy"].item() == pytest.approx(4)


def test_links_without_places_are_no_ways():
    made = search()
    goal = torch.tensor([state(1, 9)])
    outputs = made.step(state=torch.tensor([state(0, 0)]), goal=goal, places=torch.zeros(1, SLOTS, 3),
                        kept=torch.zeros(1, SLOTS, dtype=torch.bool), links=torch.ones(1, SLOTS, 2, dtype=torch.int64),
                        goals=goal[:, None].expand(1, 2, 3))
    assert outputs["energy"].item() >= FAR


def test_without_links_there_is_no_way_and_the_goal_itself_is_sought():
    outputs = step(search(), state(0, 0), state(1, 9), links=())
    assert outputs["subgoal"].tolist() == [state(1, 9)]
    assert outputs["energy"].item() >= FAR


def test_the_ways_to_all_goals_are_reported():
    outputs = step(search(), state(0, 0), state(0, 4), other=state(1, 10))
    assert outputs["ways"].tolist() == [[4.0, 10.0]]


def test_a_sub_goal_that_does_not_come_nearer_is_doubted():
    made, links = search(near=2.0, patience=2, doubt=100.0), {*LINKS, (0, 3), (3, 0)}  # another, longer way
    first = step(made, state(0, 3), state(1, 9), links)["subgoal"].tolist()
    later = [step(made, state(0, 3), state(1, 9), links) for _ in range(3)]
    assert first == [state(1, 6)]
    assert later[-1]["subgoal"].tolist() == [state(0, 0)]
    assert max(outputs["stalled"].item() for outputs in later) >= 1


def test_a_sub_goal_is_held_until_the_goal_changes():
    made = search(hold=50, near=1.0, reach=0.1, patience=90)
    held = [step(made, state(0, x), state(1, 9))["subgoal"].tolist() for x in (0, 1, 3.8)]
    assert held == [[state(0, 4)]] * 3
    assert step(made, state(0, 3.8), state(0, 0))["subgoal"].tolist() == [state(0, 0)]


def test_a_carried_agent_does_not_stall_and_doubts_nothing():
    made = search(near=2.0, patience=2)
    found = [step(made, state(0, 3), state(1, 9), carried=True) for _ in range(6)]
    assert {outputs["stalled"].item() for outputs in found} == {0}
    assert not made.carry["doubts"].any()
    free = [step(made, state(0, 3), state(1, 9), carried=False)["stalled"].item() for _ in range(3)]
    assert free == [0, 1, 0]  # the first free tick begins a way; the third doubts it


BOTH_WAYS = ((0, 1), (1, 0))


def test_a_way_that_is_imagined_from_both_ends_is_a_link_at_a_price():
    outputs = step(search(BOTH_WAYS, price=5.0), state(0, 4), state(1, 9), links=())
    assert outputs["energy"].item() == pytest.approx(10)
    assert outputs["subgoal"].tolist() == [state(1, 6)]


@pytest.mark.parametrize("doors, given", [
    ((), {}), (((0, 1),), {}), (((1, 0),), {}),  # imagined from one end alone
    (BOTH_WAYS, {"leap": 0}), (BOTH_WAYS, {"leap": 1.5}),  # the nearest places of the two rooms are 2 apart
])
def test_nothing_else_is(doors, given):
    assert step(search(doors, **given), state(0, 4), state(1, 9), links=())["energy"].item() >= FAR


def test_a_walked_way_is_preferred_unless_it_is_longer_by_the_price():
    way = ((0, 3), (3, 0))  # from the far end of the room
    near, dear = (step(search(BOTH_WAYS, price=price), state(0, 4), state(1, 9), links=way) for price in (3.0, 30.0))
    assert near["energy"].item() == pytest.approx(8)
    assert dear["energy"].item() == pytest.approx(15)
    assert dear["subgoal"].tolist() == [state(0, 0)]


def test_nothing_is_imagined_twice_nor_while_carried():
    made = search(BOTH_WAYS)
    given = {"here": state(0, 4), "goal": state(1, 9)}
    counts = [step(made, carried=carried, **given)["model_steps"].item() for carried in (True, False, False)]
    assert counts[0] == counts[2] == 0
    # two pairs of rooms 0 and 1 that were not walked are less than 10 apart, 6 steps each, there and back
    assert counts[1] == 2 * (6 + 6)


def test_a_stall_gives_up_imagined_links_that_lead_past_it():
    made = search(BOTH_WAYS, patience=2, price=1.0)
    found = [step(made, state(0, 4), state(1, 9), links=()) for _ in range(6)]
    assert found[0]["energy"].item() < FAR
    assert found[-1]["energy"].item() >= FAR


def test_without_doubt_imagined_links_are_kept():
    made = search(BOTH_WAYS, patience=2, price=1.0, doubt=0.0)
    assert all(step(made, state(0, 4), state(1, 9), links=())["energy"].item() < FAR for _ in range(6))


def test_a_walked_link_of_changed_surroundings_is_long_if_imagination_denies_it():
    made, renewed = search(BOTH_WAYS, denied=30.0), [state(0.25, x) for _, x, _ in PLACES[:2]] + PLACES[2:]
    before = step(made, state(0, 4), state(1, 9))
    after = step(made, state(0.25, 4), state(1, 9), slots=renewed)
    assert (before["energy"].item(), after["energy"].item()) == (pytest.approx(5), pytest.approx(35))


def test_a_sub_goal_that_an_imagined_link_leads_to_is_followed_on_the_way():
    made = search(BOTH_WAYS, near=0.5, patience=50)
    on_the_way = [step(made, state(0, x), state(1, 9), links=())["subgoal"].tolist() for x in (4, 4.75, 5.5)]
    assert on_the_way == [[state(1, 6)]] * 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=SLOTS), min_size=1,
                max_size=5))
def test_what_is_imagined_depends_on_the_present_map_alone(maps):
    doors = [(0, 1), (1, 0), (1, 2)]
    made = search(doors, patience=99)
    for slots in maps:
        step(made, state(0, 0), state(1, 9), links=(), slots=[state(*one) for one in slots])
    fresh, number = search(doors, patience=99), len(maps[-1])
    step(fresh, state(0, 0), state(1, 9), links=(), slots=[state(*one) for one in maps[-1]])
    for one in range(number):
        for other in range(number):
            found = [both(carry["imagined"][0], one, other) for carry in (made.carry, fresh.carry)]
            assert found[0] == found[1]


def both(imagined, one, other) -> bool:
    return bool(imagined[one, other] == REACHED) and bool(imagined[other, one] == REACHED)


def test_a_setting_out_of_range_is_refused():
    with pytest.raises(SettingError, match=r"^MapSearch\.patience is 0: expected 1 or more ticks$"):
        MapSearch(patience=0)
