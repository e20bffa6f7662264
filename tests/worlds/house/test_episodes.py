"""Maps, tours, goals and pairs of the house."""

import json

import numpy as np
import pytest

from worlds.house.episodes import Rules, sample_episode, sample_pairs
from worlds.house.map import doors_between, is_connected, room_of, rooms_of, sample_doors, walls_of
from worlds.house.tour import places_at_ticks
from worlds.house.ways import Ways

RULES = Rules(3, 4, 100.0, 3, True, False)


@pytest.mark.parametrize("rooms", [3, 4])
def test_every_room_can_be_reached(rooms):
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(200):
        doors = sample_doors(rng, rooms)
        assert is_connected(doors) and rooms_of(len(doors)) == rooms
        assert ((doors == 0) | ((doors >= 4) & (doors <= 12))).all()
        counts.append((doors > 0).sum())
    walls, tree = len(walls_of(rooms)), rooms**2 - 1
    assert min(counts) >= tree and np.mean(counts) == pytest.approx(tree + 0.15 * (walls - tree), abs=0.3)


def test_pairs_are_plain_sealed_and_do_not_depend_on_their_number():
    pairs = sample_pairs(3, 5, RULES)
    assert [pair["kind"] for pair in pairs] == ["far"] * 5 + ["life"] * 5
    assert json.loads(json.dumps(pairs)) == pairs
    assert sample_pairs(3, 2, RULES) == [*pairs[:2], *pairs[5:7]]
    assert {np.shape(pair["tour"]) for pair in pairs} == {(42, 2)}, "options of all kinds fit into one batch"


def test_looks_of_evaluation_are_never_seen_in_learning():
    rng = np.random.default_rng(0)
    assert all(sample_episode(rng, "walk", RULES)["look"] % 2 for _ in range(20))
    assert not any(pair["look"] % 2 for pair in sample_pairs(0, 10, RULES))


@pytest.mark.parametrize("rooms", [3, 4])
def test_goals_are_far_and_not_too_far_from_home(rooms):
    for pair in sample_pairs(1, 40, RULES._replace(rooms=rooms)):
        doors, at = np.array(pair["doors"]), pair["home"]
        from_home = doors_between(doors, pair["home"])
        for goal in pair["goals"][:pair["errands"]]:
            room = int(room_of(goal, rooms))
            away = doors_between(doors, at)
            if pair["kind"] == "far":
                assert away[room] >= 3
            else:
                assert from_home[room] <= 3 and away[room] >= min(3, away[from_home <= 3].max())
            at = room
            assert ((np.array(goal) % 16 >= 3) & (np.array(goal) % 16 <= 13)).all()


def test_without_a_tour_an_episode_begins_at_the_charger():
    pair = sample_pairs(0, 1, RULES._replace(tour=False))[0]
    assert places_at_ticks(np.array(pair["tour"])).tolist() == [pair["charger"]]


def test_tours_have_the_expected_length():
    ticks = [len(places_at_ticks(np.array(pair["tour"]))) - 1 for pair in sample_pairs(0, 50, RULES)]
    assert min(ticks) >= 110 and max(ticks) <= 180


def test_a_shut_door_lies_on_the_shortest_way_and_leaves_another():
    pairs = sample_pairs(0, 40, RULES._replace(shut=True))
    shut = [pair for pair in pairs if pair["shut"] >= 0]
    assert len(shut) > 10
    for pair in shut:
        doors = np.array(pair["doors"])
        short, crossed = Ways(doors).way(np.array(pair["charger"]), np.array(pair["goals"][0]))
        assert pair["shut"] in crossed
        doors[pair["shut"]] = 0
        assert is_connected(doors)
        assert short < Ways(doors).way(np.array(pair["charger"]), np.array(pair["goals"][0]))[0] < np.inf


def test_the_battery_lasts_for_every_way_around_a_shut_door():
    for pair in sample_pairs(2, 40, RULES._replace(shut=True)):
        if pair["kind"] == "life" and pair["shut"] >= 0:
            doors = np.array(pair["doors"])
            doors[pair["shut"]] = 0
            assert all(1.3 * Ways(doors).way(np.array(pair["charger"]), np.array(goal))[0] <= 100 for goal in pair["goals"])


def test_ways_cross_as_few_walls_as_a_search_over_rooms_allows():
    rng = np.random.default_rng(0)
    for _ in range(20):
        doors = sample_doors(rng, 3)
        start, goal = rng.uniform(1, 47, (2, 2))
        length, crossed = Ways(doors).way(start, goal)
        assert length >= np.linalg.norm(goal - start) - 1e-9
        assert len(crossed) >= doors_between(doors, int(room_of(start, 3)))[room_of(goal, 3)]
