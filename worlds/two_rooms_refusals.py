"""Validation of the two rooms' actions and reset options; every message has the given value, the expected one and a fix.

Every refusal is a ValueError. Shapes: B = num_envs rows, N = rows that are being reset.
"""

from typing import Any

import numpy as np

from worlds.refusals import check_action
from worlds.two_rooms_physics import (
    DOOR_HALF_WIDTH,
    DOOR_HIGH,
    DOOR_LOW,
    HIGH,
    LOW,
    MIN_SEPARATION,
    SUCCESS_RADIUS,
    WALL_HALF_WIDTH,
    WALL_X,
    Array,
    is_blocked,
    is_success,
)


def check_velocity(action: Any, shape: tuple[int, ...]) -> Array:
    """Return the action as float32; refuse another shape or values that are not finite."""
    rows = " for each row" if len(shape) > 1 else ""
    return check_action(action, shape, f"a velocity (x, y) in [-1, 1]{rows}", np.float32)


def check_option(name: str, given: Any, shape: tuple[int, ...]) -> Array:
    """Return the reset option as float32; refuse another shape."""
    values = np.asarray(given, np.float32)
    if values.shape != shape:
        raise ValueError(
            f"option {name} has shape {values.shape}; expected {shape}, in px of the 32 x 32 world."
        )
    return values


def check_places(state: Array, goal_state: Array) -> None:
    """Refuse states and goal states (N, 3) that are not free, or that are solved at the start."""
    doors = state[:, 2]
    if not np.all((doors >= DOOR_LOW) & (doors <= DOOR_HIGH)):
        raise ValueError(
            f"door={_plain(doors)} leaves no whole door; expected a centre y in [{DOOR_LOW}, {DOOR_HIGH}] px."
        )
    _check_free("start", state)
    _check_free("goal", goal_state)
    solved = is_success(state, goal_state)
    if solved.any():
        row = int(np.flatnonzero(solved)[0])
        raise ValueError(
            f"start={_plain(state[row, :2])} is solved already: goal={_plain(goal_state[row, :2])} lies "
            f"within {SUCCESS_RADIUS} px. Put them farther apart; those the world draws itself keep "
            f"{MIN_SEPARATION} px."
        )


def _check_free(name: str, state: Array) -> None:
    """Refuse positions (N, 3) outside the world or inside the wall; NaN counts as outside."""
    x, y, door_y = state[:, 0], state[:, 1], state[:, 2]
    outside = ~((x >= LOW) & (x <= HIGH) & (y >= LOW) & (y <= HIGH))
    if outside.any():
        place = _plain(state[outside][0, :2])
        raise ValueError(f"{name}={place} is outside the world; expected x and y in [{LOW}, {HIGH}] px.")
    blocked = is_blocked(x, y, door_y)
    if blocked.any():
        first = _plain(state[blocked][0])
        raise ValueError(
            f"{name}={first[:2]} is inside the wall; expected |x - {WALL_X}| >= {WALL_HALF_WIDTH} px, or, "
            f"to stand in the door, |y - {first[2]}| <= {DOOR_HALF_WIDTH} px."
        )


def _plain(values: Array) -> Any:
    """Round numbers to 3 decimals, for messages."""
    return np.round(np.asarray(values, np.float64), 3).tolist()
