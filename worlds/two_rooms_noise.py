"""Unpredictable noise in the images of the two rooms: a television in a corner, or the whole floor.

The colours of a frame are a hash of the row's key and of the frame's number, so a row drawn alone is bitwise equal to that
in a batch. Shapes: N frames, S = size of the side in image pixels, G blocks along a side of the world.
"""

import numpy as np

from worlds.refusals import check_choice
from worlds.two_rooms_drawing import FLOOR
from worlds.two_rooms_physics import SIDE, Array

NOISE_MODES = ("none", "tv", "background")
GOAL_FRAME = -1  # the frame number of a goal image: one draw, which no step repeats
TV_LEFT, TV_TOP = 22.0, 22.0  # px: the television fills the corner from here on; the dot is drawn over it
BLOCK = {"tv": 2.0, "background": 4.0}  # px
DARKEST = {"tv": 0.0, "background": 96.0}  # a floor stays lighter than the wall and the dot


class Noise:
    """Draws the floor under wall and dot, with new colours at every frame.

    * "none": no noise, `floor` returns None;
    * "tv": 10 x 10 px of one corner flicker between black and white, in grey blocks of 2 px;
    * "background": the whole floor, in coloured blocks of 4 px.

    Raises ValueError for another kind.
    """

    def __init__(self, kind: str, size: int) -> None:
        check_choice("noise", kind, NOISE_MODES)
        self.kind, self.size = kind, size
        if kind == "none":
            return
        centres = (np.arange(size) + 0.5) * (SIDE / size)
        self._block = (centres / BLOCK[kind]).astype(np.intp)
        self._tv = slice(int(np.searchsorted(centres, TV_TOP)), None), slice(int(np.searchsorted(centres, TV_LEFT)), None)
        count = int(SIDE / BLOCK[kind])
        colours = 1 if kind == "tv" else 3
        self._places = np.arange(count * count * colours, dtype=np.uint64).reshape(count, count, colours)

    def floor(self, keys: Array, frames: Array) -> Array | None:
        """Draw the floor of N frames: keys (N,) uint64, one per episode, and frame numbers (N,) -> (N, S, S, 3) float32."""
        if self.kind == "none":
            return None
        drawn = _uniform(keys, frames, self._places)
        drawn = drawn * np.float32(255 - DARKEST[self.kind]) + np.float32(DARKEST[self.kind])
        if self.kind == "background":
            whole: Array = drawn[:, self._block[:, None], self._block]
            return whole
        floor = np.empty((len(keys), self.size, self.size, 3), np.float32)
        floor[:] = np.asarray(FLOOR, np.float32)
        rows, columns = self._block[self._tv[0]], self._block[self._tv[1]]
        floor[:, self._tv[0], self._tv[1]] = drawn[:, rows[:, None], columns]
        return floor


def _uniform(keys: Array, frames: Array, places: Array) -> Array:
    """Return numbers in [0, 1), (N, *places), by key, frame and place: SplitMix64's finaliser (Steele et al., 2014)."""
    start = keys.astype(np.uint64) + frames.astype(np.int64).astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
    mixed = _mixed(start).reshape(-1, *[1] * places.ndim) + places * np.uint64(0x9E3779B97F4A7C15)
    return (_mixed(mixed) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _mixed(value: Array) -> Array:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = value ^ (value >> np.uint64(31))
    return mixed
