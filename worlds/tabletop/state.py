"""The true state of a table as a vector of S = 7 + 4 N numbers, for oracles, probes and labels.

    0, 1     x and y of the gripper, in units of a table whose side is 40; x grows to the right, y downwards
    2        its opening, 0 closed to 1 open
    3        the index of the object that it holds, -1 for none
    4, 5     x and y of the plate
    6        the kind of the episode, an index into `worlds.tabletop.episodes.KINDS`
    7 …      of each of the N objects: x, y, shape (an index into `worlds.tabletop.sprites.SHAPES`, -1 if the object is
             absent), colour (an index into `worlds.tabletop.looks.PALETTE`)

Object 0 is the *target*, which the tasks are about. A goal is a state too. Shapes: … any leading dimensions, N objects.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""A numpy array; docstrings give its shape."""

OPENING, HELD, TASK, OBJECTS, PER_OBJECT = 2, 3, 6, 7, 4
GRIPPER, PLATE = slice(0, 2), slice(4, 6)
TARGET = 0
NOTHING = -1
"""The value of `held` without an object, and of the shape of an absent object."""


def size_of(num_objects: int) -> int:
    """Return S for N objects."""
    return OBJECTS + PER_OBJECT * num_objects


def objects_of(state: Array) -> Array:
    """Return a view (..., N, 4) of the objects of states (..., S): x, y, shape, colour."""
    number = (state.shape[-1] - OBJECTS) // PER_OBJECT
    return state[..., OBJECTS:].reshape(*state.shape[:-1], number, PER_OBJECT)


def places_of(state: Array) -> Array:
    """Return the places (..., N, 2) of the objects of states (..., S)."""
    return objects_of(state)[..., :2]


def shapes_of(state: Array) -> Array:
    """Return the shapes (..., N) int of the objects of states (..., S), -1 for an absent one."""
    shapes: Array = objects_of(state)[..., 2].round().astype(np.int64)
    return shapes
