"""Map search: ways over remembered states, sub-goals, doubts."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Episode
from modules.planner.map_search import FAR, MapSearch
from tests.support.corridors import calling_rooms, state

# two rooms side by side, joined by a door between (0, 4) and (1, 6), and a third one that nothing leads to
PLACES = [state(0, 0), state(0, 4), state(1, 6), state(1, 10), state(2, 20)]
LINKS = {(1, 2), (2, 1)}
SLOTS = 6


def search(**given) -> MapSearch:
    made = calling_rooms(MapSearch(**{"hold": 1, **given}))
    made.set_up({"S": (3,), "Q": (3,), "N": SLOTS, "L": 2, "G": 2})
    made.begin(torch.ones(1, dtype=torch.bool), [Episode(0, seed=0)])
    return made


def step(made: MapSearch, here, goal, links=LINKS, other=None):
    places = torch.zeros(1, SLOTS, 3)
    places[0, :len(PLACES)] = torch.tensor(PLACES)
    table = torch.full((1, SLOTS, 2), -1)
    for one, two in links:
        table[0, one, int((table[0, one] >= 0).sum())] = two
    goals = torch.tensor([[goal, other or goal]])
    return made.step(state=torch.tensor([here]), goal=torch.tensor([goal]), places=places,
                     kept=torch.arange(SLOTS)[None] < len(PLACES), links=table, goals=goals)


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


def test_a_setting_out_of_range_is_refused():
    with pytest.raises(SettingError, match=r"^MapSearch\.patience is 0: expected 1 or more ticks$"):
        MapSearch(patience=0)
