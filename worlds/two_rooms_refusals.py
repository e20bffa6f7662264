"""Validation of the two rooms' inputs; every message has the given value, the expected one and a fix.

Every refusal is a ValueError. Shapes: B = num_envs rows, N = rows that are being reset.
"""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

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


def check_choice(setting: str, given: Any, choices: Iterable[str]) -> None:
    """Refuse a name not in `choices`, with all choices and the nearest name."""
    choices = tuple(choices)
    if isinstance(given, str) and given in choices:
        return
    nearest = difflib.get_close_matches(str(given), choices, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(
        f"{setting}={given!r} is unknown; expected one of {', '.join(map(repr, choices))}.{hint}"
    )


def check_count(setting: str, given: Any, least: int = 1, most: int | None = None) -> None:
    """Refuse other values than whole numbers in [least, most]."""
    whole = isinstance(given, (int, np.integer)) and not isinstance(given, bool)
    if not whole or given < least or (most is not None and given > most):
        expected = f"from {least} up" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"{setting}={given!r} is not possible; expected a whole number {expected}.")


def check_action(action: Array, shape: tuple[int, ...]) -> Array:
    """Return the action as float32; refuse another shape or values that are not finite."""
    action = np.asarray(action, np.float32)
    if action.shape != shape:
        rows = " for each row" if len(shape) > 1 else ""
        raise ValueError(
            f"the action has shape {action.shape}; expected {shape}, a velocity (x, y) in [-1, 1]{rows}."
        )
    if not np.isfinite(action).all():
        wrong = action[~np.isfinite(action).all(axis=-1)].reshape(-1, 2)[0].tolist()
        raise ValueError(
            f"the action {wrong} is not finite; expected numbers in [-1, 1]. Check its source: "
            "diverged weights of a policy give such values."
        )
    return action


def check_option(name: str, given: Any, shape: tuple[int, ...]) -> Array:
    """Return the reset option as float32; refuse another shape."""
    values = np.asarray(given, np.float32)
    if values.shape != shape:
        raise ValueError(
            f"option {name} has shape {values.shape}; expected {shape}, in px of the 32 x 32 world."
        )
    return values


def check_reset_mask(given: Any, num_envs: int) -> Array:
    """Return the mask (B,); refuse other than bool, since a list of row numbers would be misread."""
    mask = np.asarray(given)
    if mask.dtype != bool or mask.shape != (num_envs,):
        raise ValueError(
            f"option reset_mask has dtype {mask.dtype} and shape {mask.shape}; expected bool ({num_envs},), "
            "True for rows to reset."
        )
    return mask


def check_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Return one seed or None per row: a whole number s means s + i for row i, as in gymnasium."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (int, np.integer)):
        check_count("seed", seed, least=0)
        return [int(seed) + row for row in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(
            f"seed holds {len(seed)} values; expected one per row, {num_envs}. "
            "Pass a whole number s to seed row i with s + i."
        )
    for row_seed in seed:
        if row_seed is not None:
            check_count("seed", row_seed, least=0)
    return [None if row_seed is None else int(row_seed) for row_seed in seed]


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
