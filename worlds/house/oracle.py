"""The oracle of a house: knows the map, walks the shortest way over doors, and charges in time.

Shapes: B rows, W interior walls.
"""

import numpy as np

from worlds.house.map import Array, beside_door, room_of
from worlds.house.physics import SPEED
from worlds.house.tour import IN_FRONT
from worlds.house.ways import ways_of
from worlds.house.world import CHARGE_RADIUS

RESERVE = 10.0  # ticks of battery beyond those that the ways need
FULL = 0.95  # charge up to this share of the battery
DETOUR = 1.15  # ticks needed, in ticks at full speed: ways around the sides of doors
THROUGH = 1.5  # units beside a door's centre from which the straight way through it is free


class Oracle:
    """Velocities along shortest ways to the goal, or to the charger while the battery would not last."""

    def velocity(self, place: Array, goal: Array, map: Array, body: Array) -> Array:
        """Return velocities (B, 2): place (B, 2), goal (B, 2), map (B, W + 4) and body (B, 3) as the house sends them."""
        return np.array([_velocity(*row) for row in zip(place, goal, map, body, strict=True)]).reshape(-1, 2)


def _velocity(place: Array, goal: Array, map: Array, body: Array) -> Array:
    doors, charger, capacity = map[:-4], map[-4:-2], map[-1]
    ways = ways_of(tuple(doors.tolist()))
    target = goal
    if capacity > 0:
        at_charger, _ = ways.way(place, charger)
        needed = (ways.way(place, goal)[0] + ways.way(goal, charger)[0]) * DETOUR / SPEED + RESERVE
        charging = at_charger <= CHARGE_RADIUS and body[0] < FULL
        if charging or (needed > body[0] * capacity and at_charger > CHARGE_RADIUS):
            target = charger
    _, crossed = ways.way(place, target)
    aim = target if not crossed else _through(doors, crossed[0], place, ways.rooms)
    return (aim - place) / SPEED


def _through(doors: Array, wall: int, place: Array, rooms: int) -> Array:
    """Return where to aim at (2,) to cross a wall's door from a place (2,) of one of its rooms."""
    room = int(room_of(place, rooms))
    near, far = beside_door(doors, wall, room, IN_FRONT), beside_door(doors, wall, room, -IN_FRONT)
    axis = int(np.abs(far - near).argmin())  # along the wall
    return far if abs(place[axis] - near[axis]) <= THROUGH else near
