"""Shortest ways through a house, over the centres of its doors.

Shapes: W interior walls, N doors.
"""

from functools import lru_cache

import numpy as np

from worlds.house.map import Array, door_place, room_of, rooms_of, walls_of
from worlds.house.physics import separation


class Ways:
    """The shortest ways of one map, along straight lines between the centres of doors.

    Args:
        doors: (W,), see `worlds.house.map`.
    """

    def __init__(self, doors: Array) -> None:
        self.rooms = rooms_of(len(doors))
        self.walls = np.flatnonzero(doors > 0)
        self.places = np.array([door_place(doors, wall) for wall in self.walls.tolist()]).reshape(-1, 2)
        self.sides = np.array(walls_of(self.rooms))[self.walls]
        self.between, self._next = self._all_pairs()

    def way(self, start: Array, goal: Array) -> tuple[float, list[int]]:
        """Return the length in units of the shortest way from start (2,) to goal (2,), and the walls it crosses.

        The length is inf if there is no way.
        """
        room, goal_room = (int(room_of(place, self.rooms)) for place in (start, goal))
        if room == goal_room:
            return float(separation(start, goal)), []
        first, last = (np.flatnonzero((self.sides == side).any(axis=1)) for side in (room, goal_room))
        lengths = (separation(start, self.places[first])[:, None] + self.between[np.ix_(first, last)]
                   + separation(self.places[last], goal)[None])
        if not np.isfinite(lengths).any():
            return np.inf, []
        one, other = np.unravel_index(lengths.argmin(), lengths.shape)
        crossed = [int(first[one])]
        while crossed[-1] != last[other]:
            crossed.append(int(self._next[crossed[-1], last[other]]))
        return float(lengths[one, other]), self.walls[crossed].tolist()

    def _all_pairs(self) -> tuple[Array, Array]:
        """Return the lengths (N, N) of the shortest ways between doors, and the next door on each (Floyd and Warshall)."""
        count = len(self.walls)
        share = (self.sides[:, None, :, None] == self.sides[None, :, None, :]).any(axis=(2, 3))
        between = np.where(share, separation(self.places[:, None], self.places[None]), np.inf)
        following = np.where(share, np.arange(count)[None], -1)
        for middle in range(count):
            over = between[:, middle, None] + between[None, middle]
            shorter = over < between
            between = np.where(shorter, over, between)
            following = np.where(shorter, following[:, middle, None], following)
        return between, following


@lru_cache(maxsize=1024)
def ways_of(doors: tuple[float, ...]) -> Ways:
    """Return the ways of a map, given its doors as plain numbers."""
    return Ways(np.array(doors))
