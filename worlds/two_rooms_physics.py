"""Geometry and motion of the two rooms: free positions, dynamics and path lengths.

Units are pixels of a 32 x 32 world, independent of the image size. Shapes: `...` any leading dimensions; a
state is (x, y, door_y), an action (velocity_x, velocity_y) in [-1, 1]. Everything is numpy, stateless and
elementwise, so that a row computed alone is bitwise equal to the row in a batch.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 32.0
LOW, HIGH = 2.0, 30.0  # bounds of the dot's centre, on both axes
WALL_X, WALL_HALF_WIDTH = 16.0, 1.5
WALL_LEFT, WALL_RIGHT = WALL_X - WALL_HALF_WIDTH, WALL_X + WALL_HALF_WIDTH
DOOR_Y, DOOR_HALF_WIDTH = 10.0, 2.5
DOOR_LOW, DOOR_HIGH = LOW + DOOR_HALF_WIDTH, HIGH - DOOR_HALF_WIDTH  # a door is wholly inside the world
SPEED = 2.0  # px per step
NUM_SUB_STEPS = 2  # of 1 px each, less than the wall's 3 px, against tunnelling
TOLERANCE = 1e-5  # px; rounding of a float32 corner of the door
SUCCESS_RADIUS, MIN_SEPARATION = 2.0, 6.0

Array = NDArray[Any]
"""A numpy array; docstrings give its shape."""


def is_blocked(x: Array, y: Array, door_y: Array | float) -> Array:
    """Return whether the dot's centre is inside the wall: arrays of one shape -> bool of that shape."""
    return np.asarray(np.abs(x - WALL_X) < WALL_HALF_WIDTH) & (np.abs(y - door_y) > DOOR_HALF_WIDTH)


class Dynamics:
    """The true motion and the true distance, for worlds, oracle planners and tests; stateless.

    It computes in the dtype of the state (float64 for integers) and broadcasts leading dimensions: a
    planner may pass states (B, 1, 3) with actions (B, N, 2). Hot path: inputs are validated by the environment only.
    """

    def step(self, state: Array, action: Array) -> Array:
        """Move by one step: state (..., 3) px, action (..., 2) -> state (..., 3) px.

        The action's Euclidean norm is clipped to 1, so no step is longer than 2 px. Each of two sub-steps
        moves x, then y; an axis that the wall blocks stays, the other moves on (sliding).
        """
        state = _as_float(state)
        action = np.asarray(action, dtype=state.dtype)
        norm = np.sqrt(action[..., 0] ** 2 + action[..., 1] ** 2)
        scale = (SPEED / NUM_SUB_STEPS) / np.maximum(norm, 1.0)
        shift_x, shift_y = action[..., 0] * scale, action[..., 1] * scale
        x, y, door_y = state[..., 0], state[..., 1], state[..., 2]
        for _ in range(NUM_SUB_STEPS):
            moved = np.clip(x + shift_x, LOW, HIGH)
            x = np.where(is_blocked(moved, y, door_y), x, moved)
            moved = np.clip(y + shift_y, LOW, HIGH)
            y = np.where(is_blocked(x, moved, door_y), y, moved)
        after = np.empty((*x.shape, 3), dtype=state.dtype)
        after[..., 0], after[..., 1], after[..., 2] = x, y, door_y
        return after

    def distance(self, state: Array, goal: Array) -> Array:
        """Return the length in px of the shortest path of the dot's centre: state (..., 3), goal (..., 3) -> (...).

        The straight line if it is free, else the shortest path of the visibility graph over the four
        corners of the state's door; exact up to 1e-5 px. Points inside the wall have no path: inf.
        """
        state, goal = np.broadcast_arrays(_as_float(state), _as_float(goal))
        start, end, door_y = state[..., :2], goal[..., :2], state[..., 2]
        length = separation(start, end)
        hidden = ~_sees(start, end, door_y)
        if hidden.any():
            length = np.array(length)  # a 0-d result is a scalar, which takes no assignment
            length[hidden] = _around_corners(start[hidden], end[hidden], door_y[hidden])
        return length

    def room(self, state: Array) -> Array:
        """Return the dot's room: state (..., 3) -> (...) int8, -1 left room, 0 in the doorway, 1 right room."""
        x = _as_float(state)[..., 0]
        return (x >= WALL_RIGHT).astype(np.int8) - (x <= WALL_LEFT).astype(np.int8)


def _as_float(values: Array) -> Array:
    values = np.asarray(values)
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)


def is_success(state: Array, goal_state: Array) -> Array:
    """Return whether the dot is within 2 px (Euclidean) of the goal: (..., 3), (..., 3) -> (...) bool."""
    return separation(state[..., :2], goal_state[..., :2]) <= SUCCESS_RADIUS


def separation(start: Array, end: Array) -> Array:
    """Return the Euclidean length of the segments start (..., 2) -> end (..., 2)."""
    away: Array = np.sqrt((end[..., 0] - start[..., 0]) ** 2 + (end[..., 1] - start[..., 1]) ** 2)
    return away


def _sees(start: Array, end: Array, door_y: Array) -> Array:
    """Return whether the segments start (..., 2) -> end (..., 2) do not cross the wall; -> (...) bool.

    A straight segment is free exactly if it is inside the door at the x where it enters and leaves the wall's
    slab. Each y is computed from its own end, so that it is exact at a corner.
    """
    (start_x, start_y), (end_x, end_y) = (start[..., 0], start[..., 1]), (end[..., 0], end[..., 1])
    run, rise = end_x - start_x, end_y - start_y
    run = np.where(run == 0, 1, run)  # a vertical segment is checked at its ends only: both shares are 0
    enter_x, leave_x = np.clip(start_x, WALL_LEFT, WALL_RIGHT), np.clip(end_x, WALL_LEFT, WALL_RIGHT)
    enter_y = start_y + (enter_x - start_x) / run * rise
    leave_y = end_y - (end_x - leave_x) / run * rise
    beside = (enter_x == leave_x) & ((enter_x == WALL_LEFT) | (enter_x == WALL_RIGHT))
    reach = DOOR_HALF_WIDTH + TOLERANCE
    return np.asarray(beside | ((np.abs(enter_y - door_y) <= reach) & (np.abs(leave_y - door_y) <= reach)))


def _around_corners(start: Array, end: Array, door_y: Array) -> Array:
    """Return the lengths (N,) in px of shortest paths start (N, 2) -> end (N, 2) via one or two corners of the door.

    Legend: C = 4 corners. All corners see each other, because the doorway is convex.
    """
    corner_x = np.array([WALL_LEFT, WALL_LEFT, WALL_RIGHT, WALL_RIGHT], dtype=start.dtype)
    offset_y = np.array([-1, 1, -1, 1], dtype=start.dtype) * DOOR_HALF_WIDTH
    corner_y = door_y[:, None] + offset_y
    corners_NC2 = np.stack([np.broadcast_to(corner_x, corner_y.shape), corner_y], axis=-1)
    fixed_C2 = np.stack([corner_x, offset_y], axis=-1)
    between_CC = separation(fixed_C2[:, None], fixed_C2[None, :])

    def legs(point: Array) -> Array:
        """Return lengths (N, C) from each point (N, 2) to its visible corners, inf to the others."""
        seen = _sees(point[:, None], corners_NC2, door_y[:, None])
        return np.where(seen, separation(point[:, None], corners_NC2), np.inf).astype(start.dtype)

    paths_NCC = legs(start)[:, :, None] + between_CC + legs(end)[:, None, :]
    shortest: Array = paths_NCC.min(axis=(1, 2))
    return shortest
