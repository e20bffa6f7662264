"""Checks of a house's reset options. Every refusal is a ValueError.

Shapes: B = num_envs rows, W interior walls, P waypoints of a tour, E errands of a life.
"""

import numpy as np

from worlds.house.map import DOOR_HIGH, DOOR_LOW, Array, is_connected, openings
from worlds.house.physics import is_free
from worlds.house.tour import num_waypoints

BEGINNINGS = ("tour", "goals", "charger")


def shapes(rooms: int, errands: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each reset option of one row."""
    return {"doors": (2 * rooms * (rooms - 1),), "look": (), "home": (), "charger": (2,),
            "tour": (num_waypoints(rooms), 2), "goals": (errands, 2), "errands": (), "steps": (), "battery": (), "shut": ()}


def check_episodes(options: dict[str, Array]) -> None:
    """Refuse houses that fall apart, and places inside a wall: options (N, ...) of the rows that begin."""
    doors, shut = options["doors"], options["shut"].astype(np.int64)
    after = doors.copy()
    closing = np.flatnonzero(shut >= 0)
    after[closing, shut[closing]] = 0
    for row in range(len(doors)):
        found = doors[row][doors[row] != 0]
        if not ((found >= DOOR_LOW) & (found <= DOOR_HIGH)).all():
            raise ValueError(f"doors={doors[row].tolist()}; expected centres in [{DOOR_LOW}, {DOOR_HIGH}] units of each "
                             "wall, 0 without a door.")
        if not is_connected(after[row]):
            raise ValueError(f"doors={doors[row].tolist()} with shut={shut[row]} leave a room without a way to it; expected "
                             "a way to every room. Fix: more doors, or shut=-1")
    vertical, horizontal = openings(doors)
    for name in BEGINNINGS:
        places = options[name].reshape(len(doors), -1, 2)
        for number in range(places.shape[1]):
            free = is_free(places[:, number], vertical, horizontal)
            if not free.all():
                raise ValueError(f"{name}={places[~free, number][0].tolist()} is outside the house or inside a wall; "
                                 "expected a free place, in units.")
