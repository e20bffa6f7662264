"""Checks of a house's settings, reset options and actions. Every refusal is a ValueError.

Shapes: B = num_envs rows, W interior walls, P waypoints of a tour, E errands of a life.
"""

from typing import Any

import numpy as np

from worlds.house.map import DOOR_HIGH, DOOR_LOW, Array, is_connected, openings
from worlds.house.physics import is_free
from worlds.house.tour import num_waypoints
from worlds.two_rooms_refusals import check_choice

BEGINNINGS = ("tour", "goals", "charger")


def shapes(rooms: int, errands: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each reset option of one row."""
    return {"doors": (2 * rooms * (rooms - 1),), "look": (), "home": (), "charger": (2,),
            "tour": (num_waypoints(rooms), 2), "goals": (errands, 2), "errands": (), "steps": (), "battery": (), "shut": ()}


def check_options(options: dict[str, Any], num_envs: int, rooms: int, errands: int) -> dict[str, Array]:
    """Return the options as arrays (B, ...); refuse an unknown or missing name, and another shape."""
    expected = shapes(rooms, errands)
    for name in options:
        check_choice("option", name, (*expected, "reset_mask"))
    missing = [name for name in expected if name not in options]
    if missing:
        raise ValueError(f"the options of an episode lack {', '.join(missing)}; expected all of {', '.join(expected)}, "
                         "or none. Fix: take them from sample_pairs()")
    arrays = {name: np.asarray(options[name], np.float64) for name in expected}
    for name, values in arrays.items():
        if values.shape != (num_envs, *expected[name]):
            raise ValueError(f"option {name} has shape {values.shape}; expected {(num_envs, *expected[name])}, for "
                             f"{rooms} x {rooms} rooms and {errands} errands. Fix: the settings it was drawn with")
    return arrays


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


def check_action(action: Array, shape: tuple[int, ...]) -> Array:
    """Return the action as float64; refuse another shape or values that are not finite."""
    found = np.asarray(action, np.float64)
    if found.shape != shape:
        raise ValueError(f"the action has shape {found.shape}; expected {shape}, a velocity (x, y) in [-1, 1].")
    if not np.isfinite(found).all():
        wrong = found[~np.isfinite(found).all(axis=-1)].reshape(-1, 2)[0].tolist()
        raise ValueError(f"the action {wrong} is not finite; expected numbers in [-1, 1]. Check its source: diverged "
                         "weights of a policy give such values.")
    return found


def check_number(setting: str, given: Any, above: float = -1.0, most: float = 10_000.0) -> None:
    """Refuse other values than numbers of 0 or more, above one bound and up to another."""
    valid = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not valid or not (0 <= given <= most and given > above):
        expected = "from 0" if above < 0 else f"above {above:g}"
        raise ValueError(f"{setting}={given!r} is not possible; expected a number {expected} to {most:g}.")
