"""Physics of the two rooms: motion, walls, true distance, evaluation pairs."""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from worlds.two_rooms_pairs import PAIR_KINDS, TEST_DOORS, sample_door, sample_pairs
from worlds.two_rooms_physics import Dynamics, is_blocked

DYNAMICS = Dynamics()
DOORS = st.floats(4.5, 27.5)
PLACES = st.tuples(st.floats(2, 30), st.floats(2, 30))
ACTIONS = st.tuples(st.floats(-1, 1), st.floats(-1, 1))


def free(place: tuple[float, float], door: float) -> np.ndarray:
    """Return the state (3,), if the place is not inside the wall; other examples are rejected."""
    state = np.array([*place, door])
    assume(not is_blocked(*state))
    return state


def measure(start: tuple[float, float], goal: tuple[float, float], door: float = 10.0) -> float:
    return float(DYNAMICS.distance(np.array([*start, door]), np.array([*goal, door])))


@settings(max_examples=60, deadline=None)
@given(place=PLACES, door=DOORS, actions=st.lists(ACTIONS, min_size=1, max_size=20))
def test_the_dot_changes_rooms_only_through_the_door(place, door, actions):
    state = free(place, door)
    for action in actions:
        after = DYNAMICS.step(state, np.array(action))
        assert not is_blocked(*after)
        assert (after[:2] >= 2).all() and (after[:2] <= 30).all()
        assert np.hypot(*(after - state)[:2]) <= 2 + 1e-9
        assert DYNAMICS.room(state) * DYNAMICS.room(after) != -1, "a step must not jump over the wall"
        state = after


def test_full_speed_actions_cross_only_through_the_door():
    rng = np.random.default_rng(0)
    state = np.column_stack([rng.uniform(2, 14.5, 300), rng.uniform(2, 30, 300), np.full(300, 10.0)])
    for _ in range(40):
        before, state = state, DYNAMICS.step(state, np.column_stack([np.ones(300), rng.uniform(-1, 1, 300)]))
        entered = (DYNAMICS.room(before) == -1) & (DYNAMICS.room(state) != -1)
        assert (np.abs(state[entered, 1] - 10) <= 2.5).all()
    assert (DYNAMICS.room(state) == 1).any(), "some dots pass through the door"


def test_a_blocked_axis_stops_and_the_other_moves_on():
    at_wall = np.array([14.5, 20.0, 10.0])
    np.testing.assert_allclose(DYNAMICS.step(at_wall, np.array([0.6, 0.8])), [14.5, 21.6, 10.0])
    in_door = np.array([16.0, 12.5, 10.0])
    np.testing.assert_allclose(DYNAMICS.step(in_door, np.array([0.6, 0.8])), [17.2, 12.5, 10.0])
    in_corner = np.array([2.0, 2.0, 10.0])
    np.testing.assert_allclose(DYNAMICS.step(in_corner, np.array([-1.0, -1.0])), in_corner)


def test_the_norm_of_an_action_is_clipped_to_one():
    state = np.array([8.0, 20.0, 10.0])
    np.testing.assert_allclose(
        DYNAMICS.step(state, np.array([1.0, 1.0])), [8 + math.sqrt(2), 20 + math.sqrt(2), 10]
    )
    np.testing.assert_allclose(DYNAMICS.step(state, np.array([0.3, 0.0])), [8.6, 20.0, 10.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept_and_shapes_broadcast(dtype):
    state = np.array([[8, 20, 10], [24, 20, 10]], dtype)[:, None]
    after = DYNAMICS.step(state, np.zeros((2, 5, 2)))
    assert after.dtype == dtype and after.shape == (2, 5, 3)
    distance = DYNAMICS.distance(after, state[::-1])
    assert distance.dtype == dtype and distance.shape == (2, 5)
    np.testing.assert_allclose(distance, 22.849433, rtol=1e-6)


def test_rooms():
    assert DYNAMICS.room(np.array([[14.5, 20, 10], [16, 10, 10], [17.5, 20, 10]])).tolist() == [-1, 0, 1]


def test_known_distances():
    assert measure((4, 4), (7, 8)) == 5
    assert measure((8, 10), (24, 10)) == 16, "straight through the door"
    # 8, 20 to the near lower corner (14.5, 12.5), 3 px along the door, and the same again on the other side
    assert measure((8, 20), (24, 20)) == pytest.approx(2 * math.hypot(6.5, 7.5) + 3)
    # from below the door to above it: the line bends at (14.5, 12.5) and at (17.5, 7.5)
    assert measure((14.5, 30), (17.5, 2)) == pytest.approx(17.5 + math.hypot(3, 5) + 5.5)
    # out of the doorway: bends at one corner
    assert measure((16, 12.5), (24, 20)) == pytest.approx(1.5 + math.hypot(6.5, 7.5))
    assert measure((16, 20), (24, 20)) == math.inf, "no path leaves the inside of the wall"


def test_the_corner_is_found_in_float32_wherever_the_door_is():
    doors = np.random.default_rng(0).uniform(4.5, 27.5, 2000).astype(np.float32)
    start, goal = (np.column_stack([np.full_like(doors, x), np.full_like(doors, 30), doors]) for x in (8, 24))
    exact = DYNAMICS.distance(start.astype(np.float64), goal.astype(np.float64))
    np.testing.assert_allclose(DYNAMICS.distance(start, goal), exact, rtol=1e-5)


@settings(max_examples=150, deadline=None)
@given(a=PLACES, b=PLACES, c=PLACES, door=DOORS)
def test_distance_is_a_metric_that_is_never_below_euclid(a, b, c, door):
    a, b, c = free(a, door), free(b, door), free(c, door)
    ab, bc, ac = (float(DYNAMICS.distance(p, q)) for p, q in ((a, b), (b, c), (a, c)))
    assert ab == pytest.approx(float(DYNAMICS.distance(b, a)), abs=1e-9)
    assert ac <= ab + bc + 1e-4
    assert ab >= math.dist(a, b) - 1e-9
    if DYNAMICS.room(a) == DYNAMICS.room(b):
        assert ab == pytest.approx(math.dist(a, b))


@settings(max_examples=100, deadline=None)
@given(a=PLACES, b=PLACES, door=DOORS)
def test_distance_exceeds_a_straight_line_through_the_wall(a, b, door):
    a, b = free(a, door), free(b, door)
    on_the_way = a + np.linspace(0, 1, 400)[:, None] * (b - a)
    if is_blocked(*on_the_way.T).any():
        # Dots at the very edge of the wall may graze it by less than the tolerance.
        depth = np.minimum(1.5 - abs(on_the_way[:, 0] - 16), abs(on_the_way[:, 1] - door) - 2.5).max()
        assert depth < 1e-4 or DYNAMICS.distance(a, b) > math.dist(a, b)


def test_distance_shrinks_by_at_most_one_step():
    rng = np.random.default_rng(1)
    state = np.column_stack([rng.uniform(2, 14.5, 200), rng.uniform(2, 30, 200), np.full(200, 10.0)])
    goal = state * [-1, 1, 1] + [32, 0, 0]
    for _ in range(30):
        after = DYNAMICS.step(state, rng.uniform(-1, 1, (200, 2)))
        assert (DYNAMICS.distance(after, goal) >= DYNAMICS.distance(state, goal) - 2 - 1e-9).all()
        state = after


@pytest.mark.parametrize("kind", PAIR_KINDS)
@pytest.mark.parametrize("door", ["fixed", "random"])
def test_pairs_match_their_kind_and_are_repeatable(kind, door):
    pairs = sample_pairs(3, 40, kind, door)
    assert pairs == sample_pairs(3, 40, kind, door) == json.loads(json.dumps(pairs))
    assert pairs[:7] == sample_pairs(3, 7, kind, door)
    assert pairs != sample_pairs(4, 40, kind, door)
    for pair in pairs:
        start, goal = np.array([*pair["start"], pair["door"]]), np.array([*pair["goal"], pair["door"]])
        assert math.dist(start, goal) >= 6
        assert DYNAMICS.room(start) * DYNAMICS.room(goal) == (1 if kind == "same_room" else -1)
        assert pair["kind"] == kind and type(pair["seed"]) is int
        assert pair["start"] == [round(value, 3) for value in pair["start"]]
    assert len({pair["door"] for pair in pairs}) == (1 if door == "fixed" else 40)


def test_test_doors_are_never_used_in_training():
    def away(doors):
        return np.abs(np.asarray(doors)[:, None] - TEST_DOORS).min(1)

    rng = np.random.default_rng(0)
    learning = np.array([sample_door(rng, "random") for _ in range(4000)])
    test = np.array([pair["door"] for kind in PAIR_KINDS for pair in sample_pairs(5, 200, kind, "random")])
    assert away(learning).min() >= 0.75 and away(test).max() <= 0.5
    assert learning.min() < 4.6 and learning.max() > 27.4, "training doors cover the range of test doors"
    for doors, least in ((learning, 0.09), (test, 0.09)):
        counts = np.histogram(doors, [4.5, 8.5, 11.5, 14.5, 17.5, 20.5, 23.5, 27.5])[0] / len(doors)
        assert counts.min() > least, "every part of the wall has doors"


def test_invalid_pair_arguments_are_refused():
    with pytest.raises(
        ValueError, match=r"kind='acros' is unknown; expected one of 'same_room', 'across'\. Did you"
    ):
        sample_pairs(0, 1, "acros")
    with pytest.raises(
        ValueError, match=r"num_pairs=-1 is not possible; expected a whole number from 0 up\."
    ):
        sample_pairs(0, -1, "across")
