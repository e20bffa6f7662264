"""Episodes of a house, as plain reset options: map, tour, goals and limits; and the evaluation's sealed pairs.

Three kinds: "walk" to collect experience (random start, no tour, no errand, no battery), "far" (one errand at least 3 doors
away), and "life" (several errands one after another, with a battery). Goals are places at least 3 units from the lines of
the walls.

Shapes: W interior walls, P waypoints of a tour, E errands of a life. The options of every kind have the same shapes.
"""

from typing import Any, NamedTuple

import numpy as np

from worlds.house.map import Array, corner_of, doors_between, is_connected, sample_doors
from worlds.house.physics import SPEED
from worlds.house.tour import num_waypoints, sample_tour
from worlds.house.ways import Ways

KINDS = ("walk", "far", "life")
PAIR_KINDS = ("far", "life")
STEPS = {"walk": 200, "far": 150, "life": 450}  # after the tour
FAR = 3  # doors
PLACE_LOW, PLACE_HIGH = 3.0, 13.0  # of starts and goals, on both axes, in units from the room's corner
CHARGER_LOW, CHARGER_HIGH = 4.0, 12.0
LOOKS = 2**30
SLACK = 1.3  # of the shortest ways between charger and goals after a door was shut, so that the battery can last


class Rules(NamedTuple):
    """The settings that episodes depend on.

    Attributes:
        rooms: K, rooms per side.
        errands: E, errands of a life.
        battery: ticks that a full battery lasts in a life.
        home_max: the most doors between home and a goal of a life.
        tour: whether "far" and "life" begin with a tour; else they begin at the charger.
        shut: whether a door on the shortest way to the first goal is closed after the tour.
    """

    rooms: int
    errands: int
    battery: float
    home_max: int
    tour: bool
    shut: bool


def sample_episode(rng: np.random.Generator, kind: str, rules: Rules, for_evaluation: bool = False) -> dict[str, Any]:
    """Sample an episode as reset options, plain numbers rounded to 3 decimals, so that a JSON file keeps them exactly.

    Returns:
        {"doors" (W,) units along each wall, 0 without a door; "look" int, the seed of the floors' colours; "home" int;
        "charger" (2,) units; "tour" (P, 2) units, all equal without a tour; "goals" (E, 2) units, the last one repeated;
        "errands" int, the number of goals to reach; "steps" int, the limit after the tour; "battery" in ticks, 0 without
        one; "shut" int, the wall whose door is closed after the tour, -1 for none}. Looks of evaluation are even numbers,
        others odd, so that no look of evaluation is seen in learning.
    """
    rooms = rules.rooms
    while True:
        doors = np.round(sample_doors(rng, rooms), 3)
        home = int(rng.integers(rooms**2))
        charger = _place(rng, home, rooms, CHARGER_LOW, CHARGER_HIGH)
        goals = _goals(rng, kind, rules, doors, home)
        if goals is not None:
            break
    start = _place(rng, int(rng.integers(rooms**2)), rooms) if kind == "walk" else charger
    toured = rules.tour and kind != "walk"
    tour = np.round(sample_tour(rng, doors, home, charger), 3) if toured else np.tile(start, (num_waypoints(rooms), 1))
    reach = rules.battery if kind == "life" else np.inf
    shut = _to_shut(rng, doors, charger, goals, reach) if rules.shut and kind != "walk" else -1
    return {
        "doors": doors.tolist(), "look": 2 * int(rng.integers(LOOKS)) + (not for_evaluation), "home": home,
        "charger": charger.tolist(), "tour": tour.tolist(),
        "goals": [goal.tolist() for goal in [*goals, *[goals[-1]] * (rules.errands - len(goals))]],
        "errands": {"walk": 0, "far": 1, "life": rules.errands}[kind], "steps": STEPS[kind],
        "battery": float(rules.battery) if kind == "life" else 0.0, "shut": shut,
    }


def sample_pairs(seed: int, num_pairs: int, rules: Rules) -> list[dict[str, Any]]:
    """Return `num_pairs` pairs of each kind, "far" first, equal for equal seeds; the first n do not depend on `num_pairs`.

    Each is {"kind", "seed", …}, with the options of `sample_episode`.
    """
    pairs = []
    for kind in PAIR_KINDS:
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        for _ in range(num_pairs):
            pairs.append({"kind": kind, **sample_episode(rng, kind, rules, for_evaluation=True),
                          "seed": int(rng.integers(2**31))})
    return pairs


def _goals(rng: np.random.Generator, kind: str, rules: Rules, doors: Array, home: int) -> list[Array] | None:
    """Return the goals of an episode, one after another; None if the house has none for it."""
    rooms = rules.rooms
    if kind == "walk":
        return [_place(rng, int(rng.integers(rooms**2)), rooms)]
    from_home, last = doors_between(doors, home), home
    allowed = np.ones(rooms**2, bool) if kind == "far" else from_home <= rules.home_max
    goals: list[Array] = []
    for _ in range(1 if kind == "far" else rules.errands):
        away = np.where(allowed, doors_between(doors, last), 0)
        if kind == "far" and away.max() < FAR:
            return None
        last = int(rng.choice(np.flatnonzero(away >= min(FAR, away.max()))))
        goals.append(_place(rng, last, rooms))
    return goals


def _place(rng: np.random.Generator, room: int, rooms: int, low: float = PLACE_LOW, high: float = PLACE_HIGH) -> Array:
    return np.round(corner_of(room, rooms) + rng.uniform(low, high, 2), 3)


def _to_shut(rng: np.random.Generator, doors: Array, charger: Array, goals: list[Array], reach: float) -> int:
    """Return a wall on the shortest way from the charger to the first goal whose door can be closed; -1 if there is none.

    Every room stays reachable, and the way from the charger to each goal and back takes at most `reach` ticks.
    """
    for wall in rng.permutation(Ways(doors).way(charger, goals[0])[1]).tolist():
        closed = doors.copy()
        closed[wall] = 0.0
        if is_connected(closed):
            ways = Ways(closed)
            if all(2 * ways.way(charger, goal)[0] * SLACK / SPEED <= reach for goal in goals):
                return int(wall)
    return -1
