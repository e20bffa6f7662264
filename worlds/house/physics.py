"""Motion in a house: velocities, walls that block within 1 unit, and sliding along them.

Everything is elementwise over rows, so that a row computed alone is bitwise equal to the row in a batch. Shapes: B rows,
K rooms per side; places in units.
"""

import numpy as np

from worlds.house.map import DOOR_HALF_WIDTH, ROOM, WALL_HALF_WIDTH, Array

SPEED = 2.0  # units per step
NUM_SUB_STEPS = 2  # of 1 unit each, less than a wall's 2 units, against tunnelling
SUCCESS_RADIUS = 2.0
ROUNDING = 1e-9  # units


def move(place: Array, action: Array, vertical: Array, horizontal: Array) -> tuple[Array, Array]:
    """Move by one step.

    The action's Euclidean norm is clipped to 1, which is 2 units. Each of two sub-steps moves x, then y: a wall stops one
    axis at its surface, the other slides on; in a doorway the other axis stays between the door's sides.

    Args:
        place: (B, 2) float64, outside the walls.
        action: (B, 2), a velocity.
        vertical: (B, K + 1, K), see `worlds.house.map.openings`.
        horizontal: the same of the horizontal lines.

    Returns:
        The places (B, 2), and whether a wall or a door's side stopped the row on an axis (B,).
    """
    action = np.asarray(action, np.float64)
    norm = np.sqrt(action[:, 0] ** 2 + action[:, 1] ** 2)
    shift = action * ((SPEED / NUM_SUB_STEPS) / np.maximum(norm, 1.0))[:, None]
    x, y = place[:, 0], place[:, 1]
    bump = np.zeros(len(place), bool)
    for _ in range(NUM_SUB_STEPS):
        wanted = x + shift[:, 0]
        x = _along(x, wanted, y, vertical, horizontal)
        bump |= np.abs(x - wanted) > ROUNDING
        wanted = y + shift[:, 1]
        y = _along(y, wanted, x, horizontal, vertical)
        bump |= np.abs(y - wanted) > ROUNDING
    return np.stack([x, y], axis=1), bump


def _along(start: Array, wanted: Array, other: Array, crossed: Array, beside: Array) -> Array:
    """Return the coordinate (B,) that a row reaches on its way from `start` to `wanted` along one axis.

    Args:
        start: (B,).
        wanted: (B,), at most 1 unit from it.
        other: (B,), the coordinate on the other axis.
        crossed: (B, K + 1, K), the doors of the lines across this axis.
        beside: (B, K + 1, K), the doors of the lines along this axis, whose doorways bound it.
    """
    rows, most = np.arange(len(start)), crossed.shape[2] - 1
    # in a doorway of a line along this axis
    line = np.rint(other / ROOM).astype(np.int64)
    within = np.abs(other - ROOM * line) < WALL_HALF_WIDTH
    cell = np.clip(np.floor(start / ROOM).astype(np.int64), 0, most)
    centre = np.where(within, beside[rows, line, cell], start)
    reach = np.where(within, DOOR_HALF_WIDTH, np.inf)
    wanted = np.clip(wanted, centre - reach, centre + reach)
    # at a line across this axis
    line = np.rint(wanted / ROOM).astype(np.int64)
    position = ROOM * line
    cell = np.clip(np.floor(other / ROOM).astype(np.int64), 0, most)
    is_open = np.abs(other - crossed[rows, line, cell]) <= DOOR_HALF_WIDTH
    blocked = (np.abs(wanted - position) < WALL_HALF_WIDTH) & ~is_open
    surface = position + np.where(start < position, -WALL_HALF_WIDTH, WALL_HALF_WIDTH)
    return np.where(blocked, surface, wanted)


def is_free(place: Array, vertical: Array, horizontal: Array) -> Array:
    """Return whether places (B, 2) are inside the house and outside its walls -> (B,) bool."""
    side = ROOM * vertical.shape[2]
    inside = ((place > 0) & (place < side)).all(axis=1)  # False for NaN
    at = np.where(inside[:, None], place, ROOM / 2)
    free: Array = inside
    for axis, lines in ((0, vertical), (1, horizontal)):
        line = np.rint(at[:, axis] / ROOM).astype(np.int64)
        cell = np.floor(at[:, 1 - axis] / ROOM).astype(np.int64)
        in_door = np.abs(at[:, 1 - axis] - lines[np.arange(len(at)), line, cell]) <= DOOR_HALF_WIDTH
        free = free & ((np.abs(at[:, axis] - ROOM * line) >= WALL_HALF_WIDTH) | in_door)
    return free


def separation(start: Array, end: Array) -> Array:
    """Return the Euclidean distance of places (..., 2) in units."""
    away: Array = np.sqrt((end[..., 0] - start[..., 0]) ** 2 + (end[..., 1] - start[..., 1]) ** 2)
    return away
