"""Where an episode of the two rooms begins and shall end: at random, or from a list made for evaluation.

Positions are in px of the 32 x 32 world. What is drawn is rounded to float32, the precision of the world's
state, before it is checked, so that no check is undone by a later cast.
"""

from typing import Any

import numpy as np

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
from worlds.two_rooms_refusals import check_choice, check_count

DOOR_MODES = ("fixed", "episode")
PAIR_KINDS = ("same_room", "across")


def sample_door(rng: np.random.Generator, door: str) -> float:
    """The door's centre in px: 10 for door="fixed", uniform in [4.5, 27.5] for door="episode"."""
    return DOOR_Y if door == "fixed" else float(np.float32(rng.uniform(DOOR_LOW, DOOR_HIGH)))


def sample_position(rng: np.random.Generator, door_y: float, away_from: Array | None = None) -> Array:
    """A free position (2,) in px, uniform, at least 6 px (Euclid) from `away_from` (2,) if that is given."""
    while True:
        position = rng.uniform(LOW, HIGH, size=2).astype(np.float32).astype(np.float64)
        # A given place that is not a number is near nothing, so the search ends; it is refused later.
        near = away_from is not None and separation(position, np.asarray(away_from)) < MIN_SEPARATION
        if not near and not is_blocked(position[0], position[1], door_y):
            return position


def sample_pairs(seed: int, num_pairs: int, kind: str, door: str = "fixed") -> list[dict[str, Any]]:
    """Evaluation pairs of one kind, equal for equal seeds; the first n of them do not depend on `num_pairs`.

    Each is {"kind", "start": [x, y], "goal": [x, y], "door": y, "seed": int}, plain numbers rounded to 3
    decimals, so that a JSON file keeps them exactly. Start and goal are in a room (not in the doorway) and at
    least 6 px apart.

    Raises ValueError for an unknown kind or door, or a negative number of pairs.
    """
    check_choice("kind", kind, PAIR_KINDS)
    check_choice("door", door, DOOR_MODES)
    check_count("num_pairs", num_pairs, least=0)
    rng = np.random.default_rng([seed, PAIR_KINDS.index(kind)])
    room = Dynamics().room
    pairs: list[dict[str, Any]] = []
    while len(pairs) < num_pairs:
        door_y = round(sample_door(rng, door), 3)
        # Rounded first, checked after: the pair on disk is the pair that was checked.
        start, goal = (np.round(sample_position(rng, door_y), 3) for _ in range(2))
        rooms = int(room(start)) * int(room(goal))  # 1 same room, -1 across, 0 somebody stands in the doorway
        if rooms != (1 if kind == "same_room" else -1) or separation(start, goal) < MIN_SEPARATION:
            continue
        places = {"start": start.tolist(), "goal": goal.tolist(), "door": door_y}
        pairs.append({"kind": kind, **places, "seed": int(rng.integers(2**31))})
    return pairs
