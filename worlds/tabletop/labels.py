"""Labels of clips from their true states: *motion* classes, what moved where, and *appearance* classes, which shape.

Shapes: … any leading dimensions, T states of a clip, S the size of a state (`worlds.tabletop.state`), N objects.
"""

from typing import NamedTuple

import numpy as np

from worlds.tabletop.sprites import SHAPES
from worlds.tabletop.state import HELD, Array, places_of, shapes_of

MOTIONS = ("still", "left", "right", "up", "down")
APPEARANCES = SHAPES
LEAST = 2.0  # units that an object has to move for a motion
OBLIQUE = 0.5  # of the motion along one axis, above which it has no direction


class Labels(NamedTuple):
    """Labels of clips.

    Attributes:
        motion: (...) int, an index into `MOTIONS`, of the object that moved farthest; -1 if it moved obliquely.
        moved: (...) int, that object; -1 in a clip that is still.
        appearance: (...) int, an index into `APPEARANCES`, its shape; of the target in a clip that is still.
        carried: (...) bool, whether the gripper held it in the first and the last state: else it was pushed.
        displacement: (..., 2) units, of that object; 0 in a clip that is still.
    """

    motion: Array
    moved: Array
    appearance: Array
    carried: Array
    displacement: Array


def labels_of(states: Array) -> Labels:
    """Return the labels of clips, true states (..., T, S), from their first and last state."""
    first, last = np.asarray(states[..., 0, :], np.float64), np.asarray(states[..., -1, :], np.float64)
    shift = np.where((shapes_of(first) >= 0)[..., None], places_of(last) - places_of(first), 0.0)
    farthest = np.sqrt((shift**2).sum(axis=-1)).argmax(axis=-1)
    displacement = np.take_along_axis(shift, farthest[..., None, None], axis=-2)[..., 0, :]
    moves = np.sqrt((displacement**2).sum(axis=-1)) >= LEAST
    displacement = np.where(moves[..., None], displacement, 0.0)
    across, down = displacement[..., 0], displacement[..., 1]
    sideways = np.abs(across) > np.abs(down)
    along, beside = np.where(sideways, across, down), np.where(sideways, down, across)
    direction = 1 + 2 * ~sideways + (along > 0)
    motion = np.where(moves, np.where(np.abs(beside) <= OBLIQUE * np.abs(along), direction, -1), 0)
    moved = np.where(moves, farthest, -1)
    appearance = np.take_along_axis(shapes_of(first), np.where(moves, farthest, 0)[..., None], axis=-1)[..., 0]
    holds = [state[..., HELD].round() == farthest for state in (first, last)]
    return Labels(motion, moved, appearance, moves & holds[0] & holds[1], displacement)
