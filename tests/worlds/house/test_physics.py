"""Motion in the house: speed, sliding, doorways and bumps."""

import numpy as np

from worlds.house.map import openings
from worlds.house.physics import is_free, move

DOORS = np.zeros((1, 12))
DOORS[0, 0] = 8.0  # between rooms 0 and 1, centre (16, 8)
LINES = openings(DOORS)


def moved(x, y, *action):
    place, bump = move(np.array([[x, y]], float), np.array([action], float), *LINES)
    return place[0].tolist(), bool(bump[0])


def test_a_step_is_at_most_2_units():
    assert moved(8, 8, 1, 0) == ([10, 8], False)
    (x, y), _ = moved(8, 8, 1, 1)
    assert np.hypot(x - 8, y - 8) == np.float64(2.0) or abs(np.hypot(x - 8, y - 8) - 2) < 1e-12
    assert moved(8, 8, 0.25, 0) == ([8.5, 8], False)


def test_a_wall_stops_one_axis_and_the_other_slides():
    (x, y), bump = moved(14.5, 2.0, 0.6, 0.8)
    assert x == 15 and abs(y - 3.6) < 1e-12 and bump
    assert moved(1.5, 1.5, -1, 0) == ([1, 1.5], True)


def test_the_way_through_a_door_is_free_and_its_sides_stop():
    assert moved(14.5, 8, 1, 0) == ([16.5, 8], False)
    assert moved(16, 10, 0, 1) == ([16, 10.5], True)
    assert moved(16, 6, 0, -1) == ([16, 5.5], True)


def test_no_step_enters_a_wall():
    rng = np.random.default_rng(0)
    lines = tuple(np.repeat(one, 500, axis=0) for one in LINES)
    place = np.tile([8.0, 8.0], (500, 1))
    seen = set()
    for _ in range(300):
        before = place
        place, _ = move(place, rng.normal(size=(500, 2)), *lines)
        assert is_free(place, *lines).all()
        assert (np.linalg.norm(place - before, axis=1) <= 2 + 1e-9).all()
        seen |= set((place // 16).astype(int)[:, 0].tolist())
    assert seen == {0, 1}, "one door leads to the next room, and no further"
    assert place[:, 1].max() <= 15


def test_places_in_walls_and_outside_are_not_free():
    places = np.array([[16, 8], [16, 4], [8, 16], [0.5, 8], [-1, 8], [np.nan, 8], [15, 15], [15.1, 15]])
    lines = tuple(np.repeat(one, len(places), axis=0) for one in LINES)
    assert is_free(places, *lines).tolist() == [True, False, False, False, False, False, True, False]
