"""The shapes of objects as small masks, anti-aliased, for every place within a pixel.

Shapes: M shapes, F = 8 phases of a pixel, P px, the side of a mask.
"""

from functools import lru_cache

import numpy as np

from worlds.tabletop.physics import RADIUS
from worlds.tabletop.state import Array

SHAPES = ("cup", "box", "wedge", "cross", "disc", "diamond", "bar")
CUP = SHAPES.index("cup")
NUM_PHASES = 8
SAMPLES = 8  # per pixel, on both axes
RIM, HOLE = 0.45, 0.2  # brightness of the rim of an object, and of the inside of a cup
RIM_WIDTH = 0.55  # units


def _depth(shape: str, x: Array, y: Array) -> Array:
    """Return the depth in units of points (…) inside a shape; negative outside."""
    radius, away = RADIUS, np.hypot(x, y)
    across, down = np.abs(x), np.abs(y)
    arms = (np.minimum(radius - one, 0.4 * radius - other) for one, other in ((across, down), (down, across)))
    depths = {
        "box": 0.84 * radius - np.maximum(across, down),
        "wedge": np.minimum(0.75 * radius - y, 0.46 * (1.15 * radius + y) - 0.88 * across + 0.1 * radius),  # points upwards
        "cross": np.maximum(*arms),
        "diamond": (1.15 * radius - across - down) / np.sqrt(2),
        "bar": np.minimum(radius - across, 0.42 * radius - down),
    }
    depth: Array = depths.get(shape, radius - away)  # a cup and a disc are round
    return depth


@lru_cache(maxsize=8)
def masks(scale: float) -> Array:
    """Return masks (M, F, F, P, P, 2) float32 at `scale` px a unit: coverage, and coverage times brightness.

    Index [m, i, j] is shape m whose centre lies (i, j) / 8 px, in y and x, beyond the middle of the mask.
    """
    side = int(np.ceil(2 * RADIUS * 1.1 * scale)) + 1
    fine = (np.arange(side * SAMPLES) + 0.5) / SAMPLES - side / 2
    found = np.empty((len(SHAPES), NUM_PHASES, NUM_PHASES, side, side, 2), np.float32)
    for number, shape in enumerate(SHAPES):
        for i in range(NUM_PHASES):
            for j in range(NUM_PHASES):
                y, x = ((fine - (phase + 0.5) / NUM_PHASES) / scale for phase in (i, j))
                depth = _depth(shape, x[None], y[:, None])
                light = np.where(depth < RIM_WIDTH, RIM, 1.0)
                if shape == "cup":
                    light = np.where(depth > 0.5 * RADIUS, HOLE, light)
                inside = np.stack([depth > 0, (depth > 0) * light], axis=-1)
                found[number, i, j] = inside.reshape(side, SAMPLES, side, SAMPLES, 2).mean(axis=(1, 3))
    return found
