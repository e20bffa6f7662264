"""Images of the two rooms: a light floor, a wall with a door, a dot; a goal image has the dot at the goal.

Shapes: N frames, S = size of the side in image pixels. The geometry stays in the 32 px units of the physics.
"""

import numpy as np

from worlds.refusals import check_count
from worlds.two_rooms_physics import DOOR_HALF_WIDTH, SIDE, WALL_LEFT, WALL_RIGHT, Array

MIN_SIZE, MAX_SIZE = 16, 64
FLOOR = (236, 236, 230)
WALL = (62, 74, 104)
DOT = (214, 48, 40)
DOT_SIGMA = 1.3  # px of the 32 px world
CHUNK = 128  # frames at a time, for the processor's cache: thousands are nearly half as fast


class Drawing:
    """Draws states as images of `size` x `size` pixels.

    All operations are elementwise after one exponential per row and column (a Gaussian is separable), so a
    row drawn alone is bitwise equal to the row in a batch.

    Raises ValueError if `size` is not a whole number in [16, 64].
    """

    def __init__(self, size: int = 32) -> None:
        check_count("size", size, least=MIN_SIZE, most=MAX_SIZE)
        self.size = int(size)
        edges = np.linspace(0.0, SIDE, self.size + 1)
        self._low, self._high = edges[:-1].astype(np.float32), edges[1:].astype(np.float32)
        self._centres = ((edges[:-1] + edges[1:]) / 2).astype(np.float32)
        wall = self._coverage(WALL_LEFT, WALL_RIGHT)
        touched = np.flatnonzero(wall)
        # the wall touches only a few columns; the rest of the image is a dot on plain floor
        self._wall = wall[touched].repeat(3)
        self._wall_part = slice(3 * int(touched[0]), 3 * int(touched[-1]) + 3)

    def draw(self, state: Array, floor: Array | None = None) -> Array:
        """Draw states: (N, 3) px of the world -> (N, S, S, 3) uint8; image rows are y, columns x.

        The floor is light and plain, or as given: (N, S, S, 3) float32 in [0, 255].
        """
        state = np.asarray(state, dtype=np.float32)
        frames = np.empty((len(state), self.size, self.size * 3), dtype=np.uint8)
        for first in range(0, len(state), CHUNK):
            part = slice(first, first + CHUNK)
            frames[part] = self._draw_chunk(state[part]) if floor is None else self._draw_on(floor[part], state[part])
        return frames.reshape(len(state), self.size, self.size, 3)

    def _draw_chunk(self, state: Array) -> Array:
        """(N, 3) -> (N, S, S * 3) float32 colours plus 0.5, because the cast to uint8 rounds down."""
        columns = self._bell(state[:, 0]).repeat(3, axis=1)
        frames = self._bell(state[:, 1])[:, :, None] * columns[:, None, :]
        dot_at_wall = frames[:, :, self._wall_part].copy()
        frames *= self._tint(DOT) - self._tint(FLOOR)
        frames += self._tint(FLOOR) + np.float32(0.5)
        wall = self._draw_wall(state[:, 2])
        frames[:, :, self._wall_part] = (
            wall + dot_at_wall * (self._tint(DOT)[self._wall_part] - wall) + np.float32(0.5)
        )
        return frames

    def _draw_on(self, floor: Array, state: Array) -> Array:
        """Draw on a floor (N, S, S, 3) that is not plain, without the shortcut for plain floors."""
        frames = floor.reshape(len(state), self.size, self.size * 3).copy()
        under = frames[:, :, self._wall_part]
        under += self._wall_share(state[:, 2]) * (self._tint(WALL)[self._wall_part] - under)
        dot = self._bell(state[:, 1])[:, :, None] * self._bell(state[:, 0]).repeat(3, axis=1)[:, None, :]
        frames += dot * (self._tint(DOT) - frames)
        frames += np.float32(0.5)
        return frames

    def _draw_wall(self, doors: Array) -> Array:
        """Draw the columns of the wall, without a dot: (N,) px -> (N, S, 3 * columns) float32."""
        floor, wall = self._tint(FLOOR)[self._wall_part], self._tint(WALL)[self._wall_part]
        mixed: Array = floor + self._wall_share(doors) * (wall - floor)
        return mixed

    def _wall_share(self, doors: Array) -> Array:
        """Return the wall's share of each pixel: (N,) px -> (N, S, 3 * columns), with sub-pixel door positions."""
        door = self._coverage(doors[:, None] - DOOR_HALF_WIDTH, doors[:, None] + DOOR_HALF_WIDTH)
        share: Array = (1 - door)[:, :, None] * self._wall
        return share

    def _coverage(self, low: Array | float, high: Array | float) -> Array:
        """Return the share of each pixel (along one axis) in [low, high] px: (N, 1) twice -> (N, S)."""
        overlap = np.minimum(self._high, high) - np.maximum(self._low, low)
        share: Array = np.clip(overlap / (self._high - self._low), 0, 1)
        return share

    def _bell(self, position: Array) -> Array:
        """Return a Gaussian of each pixel's distance to the dot along one axis: (N,) px -> (N, S) in [0, 1]."""
        away = self._centres - position[:, None]
        bell: Array = np.exp(away * away * np.float32(-0.5 / DOT_SIGMA**2))
        return bell

    def _tint(self, colour: tuple[int, int, int]) -> Array:
        """Return one colour for a whole image row: (S * 3,) float32."""
        return np.tile(np.asarray(colour, dtype=np.float32), self.size)
