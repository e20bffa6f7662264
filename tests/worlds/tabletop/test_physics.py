"""Motion on the table: pushing, gripping, carrying, edges, and what no sequence of actions can do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worlds.tabletop.episodes import KINDS, Rules, one_stream, sample_episode
from worlds.tabletop.options import bodies_of
from worlds.tabletop.physics import (
    CLOSED,
    GRIP,
    HIGH,
    LOW,
    NUM_SUB_STEPS,
    OPEN,
    RADIUS,
    SPEED,
    TABLE,
    TOLERANCE,
    Bodies,
    move,
    overlap,
)

SUB_STEP = SPEED / NUM_SUB_STEPS
RIGHT, LEFT, UP, DOWN, CLOSE, OPENING = ((1, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))


def bodies(gripper, *places, gap=CLOSED, held=-1):
    return Bodies(np.array([gripper], float), np.array([gap]), np.array([held]), np.array([places], float),
                  np.ones((1, len(places)), bool))


def moved(start, *actions):
    for action in actions:
        start = move(start, np.array([action], float))
    return start


def test_a_step_is_3_units_in_every_direction():
    at = bodies((20, 20), (35, 35))
    assert moved(at, RIGHT).gripper[0].tolist() == pytest.approx([20 + SPEED, 20])
    diagonal = moved(at, (1, 1, 0)).gripper[0]
    assert np.hypot(*(diagonal - 20)) == pytest.approx(SPEED)
    assert moved(at, (0.5, 0, 0)).gripper[0].tolist() == pytest.approx([20 + SPEED / 2, 20])


def test_a_closed_gripper_pushes_an_object_ahead_of_it():
    after = moved(bodies((20, 30), (20, 22)), UP, UP, UP)
    assert after.gripper[0].tolist() == pytest.approx([20, 21])
    assert after.places[0, 0, 0] == pytest.approx(20) and after.places[0, 0, 1] == pytest.approx(17.0, abs=0.05)
    assert after.held[0] == -1


def test_a_pushed_object_pushes_the_next_one():
    after = moved(bodies((20, 34), (20, 28), (20, 21.5)), *[UP] * 3)
    first, second = after.places[0, :, 1]
    assert second < 20 and first - second == pytest.approx(2 * RADIUS, abs=0.03)


def test_an_object_at_the_edge_stops_the_gripper():
    after = moved(bodies((20, 20), (20, 10)), *[UP] * 10)
    x, y = after.places[0, 0]
    assert x == pytest.approx(20) and RADIUS <= y <= RADIUS + SUB_STEP, "undone sub-steps leave a gap"
    assert after.gripper[0, 1] - y == pytest.approx(np.sqrt(GRIP**2 - CLOSED**2), abs=0.03)


def test_closing_fingers_grip_what_is_between_them_and_carry_it():
    held = moved(bodies((20, 20), (20.6, 21), gap=OPEN), CLOSE, CLOSE)
    assert held.held[0] == 0 and held.gap[0] == GRIP and held.places[0, 0].tolist() == pytest.approx([20, 21])
    carried = moved(held, RIGHT, UP)
    assert (carried.places[0, 0] - held.places[0, 0]).tolist() == pytest.approx([SPEED, -SPEED])
    freed = moved(carried, OPENING, LEFT)
    assert freed.held[0] == -1 and freed.gap[0] > GRIP


def test_a_gentle_opening_does_not_release():
    held = bodies((20, 20), (20, 20), gap=GRIP, held=0)
    assert moved(held, *[(0, 0, 0.3)] * 9).held[0] == 0
    assert moved(held, (0, 0, 0.31)).held[0] == -1


def test_fingers_that_close_on_nothing_close():
    after = moved(bodies((20, 20), (20, 30), gap=OPEN), *[CLOSE] * 4)
    assert after.held[0] == -1 and after.gap[0] == CLOSED


def test_a_carried_object_pushes_others_and_stays_on_the_table():
    start = bodies((20, 20), (20, 20), (26.5, 20), gap=GRIP, held=0)
    after = moved(start, *[RIGHT] * 8)
    assert after.held[0] == 0 and TABLE - RADIUS - SUB_STEP <= after.places[0, 1, 0] <= TABLE - RADIUS
    assert after.places[0, 0, 0] < after.places[0, 1, 0] - 2 * RADIUS + 0.05


def test_an_object_in_a_gap_that_is_a_little_too_narrow_is_pushed_on():
    after = moved(bodies((20, 20), (20.05, 21.2), gap=GRIP - 0.1), *[DOWN] * 3)
    assert after.gripper[0, 1] == pytest.approx(20 + 3 * SPEED) and after.places[0, 0, 1] > after.gripper[0, 1]


def test_an_object_at_the_edge_slides_along_it():
    start = bodies((27.5, 25), (TABLE - RADIUS, 20), gap=OPEN)
    after = moved(start, *[UP] * 4)
    assert after.gripper[0, 1] == pytest.approx(25 - 4 * SPEED) and after.places[0, 0, 1] < after.gripper[0, 1] - 1


def test_an_absent_object_is_not_touched():
    start = bodies((20, 30), (20, 22))._replace(present=np.zeros((1, 1), bool))
    assert moved(start, UP, UP, UP).places[0, 0].tolist() == [20, 22]


def test_a_blocked_axis_stops_and_the_other_slides():
    start = bodies((20, LOW[1] + 2.4), (20, RADIUS))
    after = moved(start, (0.7, -0.7, 0), (0.7, -0.7, 0))
    assert after.gripper[0, 0] > 22


ACTIONS = st.tuples(*[st.sampled_from([-1.0, -0.5, 0.0, 0.4, 1.0])] * 3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS), actions=st.lists(ACTIONS, min_size=5, max_size=25))
def test_nothing_overlaps_leaves_the_table_or_passes_through_another(seed, kind, actions):
    episode = sample_episode(one_stream(np.random.default_rng(seed)), kind, Rules(4, frozenset({"clutter"})), True)
    before = bodies_of({name: np.asarray([value], float) for name, value in episode.items()})
    assert overlap(before)[0] <= TOLERANCE
    for action in actions:
        after = move(before, np.array([action]))
        assert overlap(after)[0] <= TOLERANCE
        assert ((after.gripper >= LOW) & (after.gripper <= HIGH)).all() and CLOSED <= after.gap[0] <= OPEN
        shift = after.places - before.places
        assert (np.hypot(*shift[0].T) < 2 * RADIUS).all(), "a step moves nothing past an object"
        if before.held[0] >= 0 and before.held[0] == after.held[0]:
            np.testing.assert_allclose(shift[0, before.held[0]], (after.gripper - before.gripper)[0], atol=1e-9)
        before = after


def test_a_row_alone_equals_the_row_in_a_batch():
    rng = np.random.default_rng(0)
    drawn = [sample_episode(one_stream(rng), "play", Rules(4, frozenset())) for _ in range(97)]
    batch = bodies_of({name: np.array([one[name] for one in drawn], float) for name in drawn[0]})
    alone = {row: batch.take(np.array([row])) for row in (0, 50, 96)}
    for _ in range(25):
        action = rng.uniform(-1, 1, (97, 3))
        batch = move(batch, action)
        for row, one in alone.items():
            alone[row] = move(one, action[[row]])
            for mine, theirs in zip(alone[row], batch, strict=True):
                np.testing.assert_array_equal(mine[0], theirs[row])
