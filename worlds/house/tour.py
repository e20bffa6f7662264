"""The tour at an episode's start: the agent is carried depth-first through all rooms and back to the charger.

Shapes: P waypoints, the same number for every house of K x K rooms; T + 1 ticks of a tour of T steps.
"""

import numpy as np

from worlds.house.map import ROOM, WALL_HALF_WIDTH, Array, beside_door, corner_of, neighbours, rooms_of

SPEED = 1.8  # units per tick
STOP_LOW, STOP_HIGH = 4.0, 12.0  # of a room's stop, on both axes, in units from the room's corner
IN_FRONT = WALL_HALF_WIDTH + 0.5  # units before and behind a door, so that the way through it is straight


def num_waypoints(rooms: int) -> int:
    """Return P: a stop per room, two places at each of the 2 (R - 1) doors passed, and the charger."""
    return rooms**2 + 4 * (rooms**2 - 1) + 1


def longest_tour(rooms: int) -> int:
    """Return a bound on the number of steps of a tour."""
    return int((num_waypoints(rooms) - 1) * ROOM * 2**0.5 / SPEED) + 1


def sample_tour(rng: np.random.Generator, doors: Array, home: int, charger: Array) -> Array:
    """Sample the waypoints (P, 2) of a tour: doors (W,), charger (2,).

    It begins at a random stop of the home room, has one random stop in each other room at its first visit, and ends at the
    charger. Between two waypoints the straight way is free.
    """
    beside, rooms = neighbours(doors), rooms_of(len(doors))
    visited: set[int] = set()
    way: list[Array] = []

    def visit(room: int) -> None:
        visited.add(room)
        way.append(corner_of(room, rooms) + rng.uniform(STOP_LOW, STOP_HIGH, 2))
        for choice in rng.permutation(len(beside[room])).tolist():
            other, wall = beside[room][choice]
            if other not in visited:
                ends = [beside_door(doors, wall, side, IN_FRONT) for side in (room, other)]
                way.extend(ends)
                visit(other)
                way.extend(reversed(ends))

    visit(home)
    return np.array([*way, charger])


def places_at_ticks(waypoints: Array) -> Array:
    """Return the places (T + 1, 2) at each tick of a tour along waypoints (P, 2); T = 0 if they are all one place."""
    steps = np.sqrt((np.diff(waypoints, axis=0) ** 2).sum(axis=1))
    passed = np.concatenate([[0.0], steps.cumsum()])
    along = np.minimum(SPEED * np.arange(np.ceil(passed[-1] / SPEED) + 1), passed[-1])
    return np.stack([np.interp(along, passed, waypoints[:, axis]) for axis in (0, 1)], axis=1)
