"""The whole house from above, for people: rooms, doors, charger, goal, agent and battery.

Shapes: W interior walls, K rooms per side; a picture has 6 px a unit, (96 K, 96 K, 3).
"""

import numpy as np

from worlds.house.map import DOOR_HALF_WIDTH, ROOM, WALL_HALF_WIDTH, Array, openings
from worlds.house.physics import SUCCESS_RADIUS
from worlds.house.rendering import AGENT, CHARGER

SCALE = 6  # px a unit
PALE, CONTRAST = 150, 0.8  # floors: the agent, the charger and the goal stand out
WALL, DOOR, GOAL, FULL, EMPTY = (40, 40, 48), (235, 235, 235), (60, 220, 90), (90, 220, 90), (90, 30, 30)
AGENT_RADIUS, CHARGER_RADIUS, RING = 1.1, 1.5, 0.6  # units


def draw_house(rooms: Array, doors: Array, charger: Array, goal: Array | None, agent: Array,
               battery: float | None) -> Array:
    """Draw a house.

    Args:
        rooms: (R, 24, 24, 3), the pictures of its rooms without the agent; their floors are shown.
        doors: (W,), see `worlds.house.map`.
        charger: (2,) units.
        goal: (2,) units, a ring of the radius of success; None draws none.
        agent: (2,) units.
        battery: the share that is left, a bar in the upper wall; None draws none.

    Returns:
        (96 K, 96 K, 3) uint8.
    """
    vertical, horizontal = (lines[0] for lines in openings(doors[None]))
    side = vertical.shape[1]
    floors = rooms.reshape(side, side, *rooms.shape[1:])
    tile = floors.repeat(4, axis=2).repeat(4, axis=3).swapaxes(1, 2).reshape(side * 96, side * 96, 3)
    picture = (PALE + CONTRAST * tile).astype(np.uint8)
    at = (np.arange(len(picture)) + 0.5) / SCALE
    line, cell = np.rint(at / ROOM).astype(np.int64), np.floor(at / ROOM).astype(np.int64)
    near = np.abs(at - ROOM * line) < WALL_HALF_WIDTH
    across = np.abs(at[:, None] - vertical[line][:, cell].T) <= DOOR_HALF_WIDTH  # (y, x)
    down = np.abs(at[None] - horizontal[line][:, cell]) <= DOOR_HALF_WIDTH
    picture[near[None] | near[:, None]] = WALL
    picture[(near[None] & across) | (near[:, None] & down)] = DOOR

    def away(place: Array) -> Array:
        distance: Array = np.hypot(at[None] - place[0], at[:, None] - place[1])
        return distance

    picture[away(charger) <= CHARGER_RADIUS] = CHARGER
    if goal is not None:
        picture[np.abs(away(goal) - SUCCESS_RADIUS) <= RING / 2] = GOAL
    picture[away(agent) <= AGENT_RADIUS] = AGENT
    if battery is not None:
        picture[:SCALE] = np.where((at < battery * at[-1])[:, None], FULL, EMPTY)
    return picture
