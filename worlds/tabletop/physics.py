"""Motion on the table: a gripper of two fingers, and objects that are pushed, gripped and carried.

Objects and fingers are discs that slide without inertia and without turning (quasi-static): what is pushed moves just as far
as it must. A sub-step that would leave two bodies inside each other, or an object over the table's edge, is undone, so no
object ever passes through another one or falls. Everything is elementwise over rows, so that a row computed alone is bitwise
equal to the row in a batch.

Shapes: R rows, N objects; places in units of a table whose side is 40.
"""

from typing import NamedTuple

import numpy as np

from worlds.tabletop.state import Array

TABLE = 40.0
RADIUS, FINGER = 3.2, 0.9  # of an object's and a finger's disc
SPEED, GRIP_SPEED = 3.0, 1.5  # units per step: of the gripper, of each finger
NUM_SUB_STEPS = 3  # of at most 1 unit, less than a finger's disc, against tunnelling
CLOSED, GRIP = FINGER, RADIUS + FINGER  # from the gripper's centre to a finger's: closed, and on an object
OPEN = GRIP + 1.5
ZONE = 1.8  # an object is gripped if its centre is at most this far from the line between the fingers
SLIP = 0.3  # a held object is released by an opening speed above this share
LOW = np.array([OPEN + FINGER, RADIUS + ZONE])
"""Bounds of the gripper's centre, on both axes: its fingers, and what it holds, are always on the table."""
HIGH = TABLE - LOW
TOLERANCE = 0.02
"""The most that two bodies may overlap, in units."""
NUM_RELAXATIONS = 12
MOST_SHIFT = 1.5
"""Units that a disc is pushed by at most in one of them."""
ATTEMPTS = ((1, 1, 1), (1, 0, 1), (0, 1, 1), (1, 1, 0), (0, 0, 1))
"""Shares of a sub-step's shift in x, y and gap that are tried in turn; if all leave an overlap, nothing moves."""


class Bodies(NamedTuple):
    """The gripper and the objects of R tables.

    Attributes:
        gripper: (R, 2), its centre.
        gap: (R,), from its centre to the centre of each finger, on the x axis.
        held: (R,) int, the object that it holds, -1 for none.
        places: (R, N, 2).
        present: (R, N) bool; an absent object neither moves nor is touched.
    """

    gripper: Array
    gap: Array
    held: Array
    places: Array
    present: Array

    def take(self, rows: Array) -> "Bodies":
        """Return some rows."""
        return Bodies(*(values[rows] for values in self))


def opening_of(gap: Array) -> Array:
    """Return the opening, 0 to 1, of a gap."""
    return (gap - CLOSED) / (OPEN - CLOSED)


def gap_of(opening: Array) -> Array:
    """Return the gap of an opening, 0 to 1."""
    return CLOSED + (OPEN - CLOSED) * opening


def move(bodies: Bodies, action: Array) -> Bodies:
    """Move by one step.

    Args:
        bodies: R tables, in which nothing overlaps.
        action: (R, 3): the gripper's velocity (x, y), whose Euclidean norm is clipped to 1, which is 3 units; and the speed
            at which it opens, -1 (closes) to 1 (opens), which is 1.5 units per finger.
    """
    norm = np.sqrt(action[:, 0] ** 2 + action[:, 1] ** 2)
    shift = action[:, :2] * ((SPEED / NUM_SUB_STEPS) / np.maximum(norm, 1.0))[:, None]
    speed = np.clip(action[:, 2], -1.0, 1.0)
    for _ in range(NUM_SUB_STEPS):
        bodies = _sub_step(bodies, shift, speed)
    return bodies


def overlap(bodies: Bodies) -> Array:
    """Return the largest overlap (R,) of two bodies, or of an object and the table's edge, in units; negative if apart."""
    x, y, reach, _ = _discs(bodies)
    edges = np.where(bodies.present, RADIUS - np.minimum(bodies.places, TABLE - bodies.places).min(axis=2), -np.inf)
    largest: Array = np.maximum(_depth(x, y, reach)[0].max(axis=(1, 2)), edges.max(axis=1))
    return largest


def _sub_step(bodies: Bodies, shift: Array, speed: Array) -> Bodies:
    after, rows = bodies, np.arange(len(shift))
    for across, down, wide in ATTEMPTS:
        moved, fits = _attempt(bodies.take(rows), shift[rows] * (across, down), speed[rows] * wide)
        if len(rows) == len(shift) and fits.all():
            return moved
        after = Bodies(*(values.copy() for values in bodies)) if after is bodies else after
        for values, new in zip(after, moved, strict=True):
            values[rows[fits]] = new[fits]
        rows = rows[~fits]
        if not len(rows):
            break
    return after


def _attempt(bodies: Bodies, shift: Array, speed: Array) -> tuple[Bodies, Array]:
    """Return the bodies after a sub-step, and whether nothing overlaps then (R,)."""
    num_objects = bodies.places.shape[1]
    gripper = np.clip(bodies.gripper + shift, LOW, HIGH)
    keeps = (bodies.held >= 0) & (speed <= SLIP)
    gap = np.clip(bodies.gap + speed * (GRIP_SPEED / NUM_SUB_STEPS), CLOSED, OPEN)
    away = bodies.places - gripper[:, None]
    between = ((np.abs(away[..., 0]) < bodies.gap[:, None]) & (np.abs(away[..., 1]) <= ZONE) & bodies.present)
    nearest = np.where(between, np.abs(away[..., 1]), np.inf).argmin(axis=1)
    grips = ~keeps & (speed < 0) & (gap <= GRIP) & between.any(axis=1)
    held = np.where(keeps, bodies.held, np.where(grips, nearest, -1))
    gap = np.where(keeps | grips, GRIP, gap)
    is_held = held[:, None] == np.arange(num_objects)
    places = bodies.places + np.where((is_held & keeps[:, None])[..., None], (gripper - bodies.gripper)[:, None], 0.0)
    places[..., 0] = np.where(is_held & grips[:, None], gripper[:, None, 0], places[..., 0])
    side = np.where(bodies.places[..., 1] >= bodies.gripper[:, 1:], 1.0, -1.0)
    return _relaxed(Bodies(gripper, gap, held, places, bodies.present), side)


def _relaxed(bodies: Bodies, side: Array) -> tuple[Bodies, Array]:
    """Push free objects out of the fingers, out of each other and away from the edge; also return whether all are apart.

    `side` (R, N) is 1 for objects that were below the line between the fingers, -1 above: a gap too narrow lets none pass.
    """
    x, y, reach, free = _discs(bodies)
    num_objects = bodies.places.shape[1]
    share = free[:, :, None] / np.maximum(free[:, :, None] + free[:, None, :], 1.0)
    reach_y = np.sqrt(np.maximum(GRIP**2 - bodies.gap**2, 0.0))  # of an object that touches both fingers, from their middle
    fork = bodies.gripper[:, 1:] + np.pad(side, ((0, 0), (0, 2))) * reach_y[:, None]
    deepest, rows = np.zeros(len(x)), np.arange(len(x))
    for iteration in range(NUM_RELAXATIONS + 1):
        depth, across, down, length = _depth(x[rows], y[rows], reach[rows])
        deepest[rows] = depth.max(axis=(1, 2))
        deep = deepest[rows] > TOLERANCE / 2
        if iteration == NUM_RELAXATIONS or not deep.any():
            break
        rows = rows[deep]
        pushed = np.maximum(depth[deep], 0.0) * share[rows]
        shift_x, shift_y = _escape(pushed, across[deep], down[deep], length[deep], x[rows], y[rows])
        is_free = free[rows] > 0
        forked = (depth[deep][:, :, num_objects:] > 0).all(axis=2)  # by both fingers: out between them, along y
        for at, shift, out in ((x, shift_x, bodies.gripper[rows, :1]), (y, shift_y, fork[rows])):
            wanted = np.where(forked, out, at[rows] + shift)
            at[rows] = np.where(is_free, np.clip(wanted, RADIUS, TABLE - RADIUS), at[rows])
    places = np.stack([x[:, :num_objects], y[:, :num_objects]], axis=2)
    return bodies._replace(places=places), deepest <= TOLERANCE


def _escape(pushed: Array, across: Array, down: Array, length: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the shifts in x and y (R, D) along the sum of what pushes a disc, or along the edge, as far as it must move.

    Args:
        pushed: how far each disc is pushed by each other one (R, D, D).
        across, down, length: their offsets and distances (R, D, D).
        x, y: the discs (R, D).
    """
    apart = length > 0  # two discs at one place are pushed apart in x
    length = np.where(apart, length, 1.0)
    normal_x, normal_y = np.where(apart, across / length, 1.0), down / length
    sum_x, sum_y = (pushed * normal_x).sum(axis=2), (pushed * normal_y).sum(axis=2)
    sum_x, sum_y = (np.where((at <= RADIUS) & (total < 0) | (at >= TABLE - RADIUS) & (total > 0), 0.0, total)
                    for at, total in ((x, sum_x), (y, sum_y)))  # at the edge only along it
    gained = normal_x * sum_x[:, :, None] + normal_y * sum_y[:, :, None]
    short = np.where((pushed > 0) & (gained > 0), pushed / np.maximum(gained, 1e-9), 0.0).max(axis=2)
    farthest = MOST_SHIFT / np.maximum(np.sqrt(sum_x**2 + sum_y**2), 1e-9)
    scale = np.minimum(short, farthest)
    return sum_x * scale, sum_y * scale


def _discs(bodies: Bodies) -> tuple[Array, Array, Array, Array]:
    """Return the D = N + 2 discs, objects and then fingers: x and y (R, D); the distance that two of them keep (R, D, D),
    -inf if they do not touch each other; and 1.0 for those that can be pushed (R, D).
    """
    num_objects = bodies.places.shape[1]
    number = np.arange(num_objects + 2)
    finger = number >= num_objects
    x = np.concatenate([bodies.places[..., 0], bodies.gripper[:, :1] - bodies.gap[:, None],
                        bodies.gripper[:, :1] + bodies.gap[:, None]], axis=1)
    y = np.concatenate([bodies.places[..., 1], bodies.gripper[:, 1:], bodies.gripper[:, 1:]], axis=1)
    held = bodies.held[:, None] == number
    present = np.concatenate([bodies.present, np.ones((len(x), 2), bool)], axis=1)
    hand = held | finger  # these are one body
    radius = np.where(finger, FINGER, RADIUS)
    touch = present[:, :, None] & present[:, None, :] & ~(hand[:, :, None] & hand[:, None, :]) & (number[:, None] != number)
    return x, y, np.where(touch, radius[:, None] + radius, -np.inf), (present & ~hand).astype(np.float64)


def _depth(x: Array, y: Array, reach: Array) -> tuple[Array, Array, Array, Array]:
    """Return overlaps, offsets in x and y, and distances of discs (R, D), each (R, D, D)."""
    across, down = x[:, :, None] - x[:, None, :], y[:, :, None] - y[:, None, :]
    length = np.sqrt(across**2 + down**2)
    return reach - length, across, down, length
