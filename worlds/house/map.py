"""Maps of a house: K x K square rooms, the doors in their walls, and distances counted in doors.

Units: a room is 16 x 16 units; x grows to the right, y downwards. Rooms are numbered row by row, r = row * K + column.
Interior walls are numbered too: first the K (K - 1) vertical ones, between rooms r and r + 1, then the horizontal ones,
between r and r + K. Shapes: R = K * K rooms, W = 2 K (K - 1) interior walls. `doors` (W,) holds the centre of each wall's
door, in units from the wall's top or left end; 0 for a wall without a door.
"""

from collections import deque
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOM = 16.0
WALL_HALF_WIDTH = 1.0
DOOR_HALF_WIDTH = 2.5
DOOR_LOW, DOOR_HIGH = 4.0, 12.0
EXTRA_DOOR_PROB = 0.15
"""Probability of a door in each wall that the spanning tree leaves closed."""

Array = NDArray[Any]
"""A numpy array; docstrings give its shape."""


@lru_cache
def walls_of(rooms: int) -> tuple[tuple[int, int], ...]:
    """Return the two rooms at each of the W interior walls of a house of `rooms` x `rooms`."""
    cells = [(row, column) for row in range(rooms) for column in range(rooms)]
    vertical = [(row * rooms + column, row * rooms + column + 1) for row, column in cells if column < rooms - 1]
    horizontal = [(row * rooms + column, (row + 1) * rooms + column) for row, column in cells if row < rooms - 1]
    return (*vertical, *horizontal)


def rooms_of(num_walls: int) -> int:
    """Return K for a number of interior walls W = 2 K (K - 1)."""
    return int((1 + (1 + 2 * num_walls) ** 0.5) / 2 + 0.5)


def sample_doors(rng: np.random.Generator, rooms: int) -> Array:
    """Sample doors (W,): a random spanning tree (Kruskal over shuffled walls), and further doors with probability .15."""
    walls = walls_of(rooms)
    group = list(range(rooms * rooms))

    def root(room: int) -> int:
        while group[room] != room:
            room = group[room]
        return room

    has_door = rng.random(len(walls)) < EXTRA_DOOR_PROB
    for wall in rng.permutation(len(walls)).tolist():
        first, second = (root(room) for room in walls[wall])
        if first != second:
            group[first] = second
            has_door[wall] = True
    return np.where(has_door, rng.uniform(DOOR_LOW, DOOR_HIGH, len(walls)), 0.0)


def neighbours(doors: Array) -> list[list[tuple[int, int]]]:
    """Return for each room its (neighbour, wall) pairs with a door: doors (W,) -> R lists."""
    rooms = rooms_of(len(doors))
    found: list[list[tuple[int, int]]] = [[] for _ in range(rooms * rooms)]
    for wall, (first, second) in enumerate(walls_of(rooms)):
        if doors[wall] > 0:
            found[first].append((second, wall))
            found[second].append((first, wall))
    return found


def doors_between(doors: Array, room: int) -> Array:
    """Return the least number of doors from a room to each: doors (W,) -> (R,) int, -1 if there is no way."""
    beside = neighbours(doors)
    found = np.full(len(beside), -1)
    found[room] = 0
    queue = deque([room])
    while queue:
        at = queue.popleft()
        for other, _ in beside[at]:
            if found[other] < 0:
                found[other] = found[at] + 1
                queue.append(other)
    return found


def is_connected(doors: Array) -> bool:
    """Return whether every room can be reached from every other: doors (W,)."""
    return bool((doors_between(doors, 0) >= 0).all())


def corner_of(room: int, rooms: int) -> Array:
    """Return the top left corner (2,) of a room, in units."""
    return np.array([room % rooms, room // rooms]) * ROOM


def room_of(place: Array, rooms: int) -> Array:
    """Return the rooms of places: (..., 2) units -> (...) int."""
    cell = np.clip(np.floor(np.asarray(place) / ROOM).astype(np.int64), 0, rooms - 1)
    found: Array = cell[..., 1] * rooms + cell[..., 0]
    return found


def door_place(doors: Array, wall: int) -> Array:
    """Return the centre (2,) of a wall's door, in units."""
    rooms = rooms_of(len(doors))
    first, _ = walls_of(rooms)[wall]
    along = (ROOM, doors[wall]) if is_vertical(wall, rooms) else (doors[wall], ROOM)
    place: Array = corner_of(first, rooms) + np.array(along)
    return place


def is_vertical(wall: int, rooms: int) -> bool:
    """Return whether an interior wall separates two rooms of one row."""
    return wall < rooms * (rooms - 1)


def beside_door(doors: Array, wall: int, room: int, away: float) -> Array:
    """Return the place (2,) in a room that is `away` units straight in front of the centre of a wall's door."""
    rooms = rooms_of(len(doors))
    sign = -1.0 if room == walls_of(rooms)[wall][0] else 1.0
    axis = np.array([1.0, 0.0] if is_vertical(wall, rooms) else [0.0, 1.0])
    place: Array = door_place(doors, wall) + sign * away * axis
    return place


def openings(doors: Array) -> tuple[Array, Array]:
    """Return the door centres by wall line, in units of the house; NaN without a door, so that no place is in it.

    Args:
        doors: (B, W).

    Returns:
        y of the doors in vertical lines, (B, K + 1, K) by line and row; x of those in horizontal lines, (B, K + 1, K) by
        line and column. Lines 0 and K are the outer walls.
    """
    batch, num_walls = doors.shape
    rooms = rooms_of(num_walls)
    start = ROOM * np.arange(rooms)
    centre = np.where(doors > 0, doors, np.nan)
    vertical = np.full((batch, rooms + 1, rooms), np.nan)
    horizontal = vertical.copy()
    half = num_walls // 2
    vertical[:, 1:-1] = centre[:, :half].reshape(batch, rooms, rooms - 1).swapaxes(1, 2) + start
    horizontal[:, 1:-1] = centre[:, half:].reshape(batch, rooms - 1, rooms) + start
    return vertical, horizontal
