"""Sampling of starts, goals and doors in the two rooms, for ordinary episodes and for evaluation pairs.

With door="random" training and evaluation share no layout: a door of evaluation is within 0.5 px of one of `TEST_DOORS`, a
door of an ordinary episode at least 0.75 px away from all of them. Positions are in px of the 32 x 32 world. Samples are
rounded to float32, the precision of the world's state, before they are checked, so that no later cast invalidates a check.
"""

from typing import Any

import numpy as np

from worlds.refusals import check_choice, check_count
from worlds.two_rooms_physics import (
    DOOR_HIGH,
    DOOR_LOW,
    DOOR_Y,
    HIGH,
    LOW,
    MIN_SEPARATION,
    Array,
    Dynamics,
    is_blocked,
    separation,
)

DOOR_MODES = ("fixed", "random")
PAIR_KINDS = ("same_room", "across")
TEST_DOORS = np.arange(7.0, 26.0, 3.0)  # 7, 10, … 25: a third of all doors is reserved for evaluation
TEST_REACH, GAP = 0.5, 0.25
TEST_BANDS = np.column_stack([TEST_DOORS - TEST_REACH, TEST_DOORS + TEST_REACH])
LEARNING_BANDS = np.column_stack([
    [DOOR_LOW, *(TEST_DOORS + TEST_REACH + GAP)],
    [*(TEST_DOORS - TEST_REACH - GAP), DOOR_HIGH],
])
"""Bands (low, high) in px, ends included, in which a random door's centre is drawn."""


def sample_door(rng: np.random.Generator, door: str, bands: Array = LEARNING_BANDS) -> float:
    """Return the door's centre in px: 10 for door="fixed", uniform in the bands (N, 2) for door="random"."""
    if door == "fixed":
        return DOOR_Y
    ends = np.cumsum(bands[:, 1] - bands[:, 0])
    drawn = rng.uniform(0, ends[-1])
    band = int(np.searchsorted(ends, drawn))
    return float(np.float32(bands[band, 1] - (ends[band] - drawn)))


def sample_position(rng: np.random.Generator, door_y: float, away_from: Array | None = None) -> Array:
    """Sample a free position (2,) in px, uniformly, at least 6 px (Euclidean) from `away_from` (2,) if given."""
    while True:
        position = rng.uniform(LOW, HIGH, size=2).astype(np.float32).astype(np.float64)
        # a given position of NaN is near nothing, so the search ends; it is refused later
        near = away_from is not None and separation(position, np.asarray(away_from)) < MIN_SEPARATION
        if not near and not is_blocked(position[0], position[1], door_y):
            return position


def sample_pairs(seed: int, num_pairs: int, kind: str, door: str = "fixed") -> list[dict[str, Any]]:
    """Return evaluation pairs of one kind, equal for equal seeds; the first n do not depend on `num_pairs`.

    Each is {"kind", "start": [x, y], "goal": [x, y], "door": y, "seed": int}, plain numbers rounded to 3
    decimals, so that a JSON file keeps them exactly. Start and goal are in a room (not in the doorway) and at
    least 6 px apart. Random doors are drawn from bands that ordinary episodes never use.

    Raises ValueError for an unknown kind or door, or a negative number of pairs.
    """
    check_choice("kind", kind, PAIR_KINDS)
    check_choice("door", door, DOOR_MODES)
    check_count("num_pairs", num_pairs, least=0)
    rng = np.random.default_rng([seed, PAIR_KINDS.index(kind)])
    room = Dynamics().room
    pairs: list[dict[str, Any]] = []
    while len(pairs) < num_pairs:
        door_y = round(sample_door(rng, door, TEST_BANDS), 3)
        # rounded before the checks, so that they hold for the saved pair
        start, goal = (np.round(sample_position(rng, door_y), 3) for _ in range(2))
        rooms = int(room(start)) * int(room(goal))  # 1 same room, -1 across, 0 start or goal in the doorway
        if rooms != (1 if kind == "same_room" else -1) or separation(start, goal) < MIN_SEPARATION:
            continue
        places = {"start": start.tolist(), "goal": goal.tolist(), "door": door_y}
        pairs.append({"kind": kind, **places, "seed": int(rng.integers(2**31))})
    return pairs
