"""What a place looks like: table, light, colours, clutter and camera; each has values that learning never sees.

Every factor is drawn from one of two disjoint sets, *seen* (of episodes that are started without options) and *unseen* (of
evaluation pairs, for the factors that the setting `unseen` names).
"""

import numpy as np

from worlds.tabletop.sprites import SHAPES
from worlds.tabletop.state import Array

FACTORS = ("texture", "lighting", "colours", "clutter", "camera")
PALETTE = np.array([
    (225, 45, 40), (40, 170, 60), (45, 85, 225), (240, 205, 40), (200, 60, 190), (40, 195, 215),
    (245, 130, 30), (150, 215, 45), (120, 70, 220), (250, 140, 175), (25, 155, 140), (190, 30, 90),
], np.uint8)
"""Colours of objects: red, green, blue, yellow, magenta, cyan are seen; orange, lime, violet, pink, teal, crimson unseen."""
NUM_SEEN_COLOURS = 6
OBJECT_SHAPES = tuple(SHAPES.index(name) for name in ("cup", "box", "wedge", "cross"))
SEEN_CLUTTER, UNSEEN_CLUTTER = (SHAPES.index("disc"),), (SHAPES.index("diamond"), SHAPES.index("bar"))
MOST_CLUTTER = 3
TEXTURES = 2**30
SEEN_SHIFT, UNSEEN_SHIFT = (0.0, 1.0), (2.5, 4.0)  # units that the camera is shifted by
FAMILIES = {False: ("plain", "grain", "blotches"), True: ("checks", "stripes", "dots")}  # by whether they are unseen
TINTS = {False: ((150, 112, 78), (120, 118, 112), (105, 125, 100)), True: ((95, 105, 135), (140, 110, 120), (95, 115, 112))}


def factors_of(unseen: str) -> frozenset[str]:
    """Return the factors that a setting names: "all", "none", or names joined by +; an unknown name stays in the result."""
    named = {"all": FACTORS, "none": ()}.get(unseen)
    return frozenset(unseen.split("+") if named is None else named)


def sample_texture(rng: np.random.Generator, unseen: bool) -> int:
    """Return the seed of a table's texture: even numbers are unseen textures, odd ones seen."""
    return 2 * int(rng.integers(TEXTURES)) + (not unseen)


def sample_lighting(rng: np.random.Generator, unseen: bool) -> list[float]:
    """Return the brightness of the light, and its change in x and y from the table's middle to its edge (3,)."""
    angle = rng.uniform(0, 2 * np.pi)
    if unseen:
        brightness = rng.uniform(0.65, 0.8) if rng.random() < 0.5 else rng.uniform(1.2, 1.35)
        slope = rng.uniform(0.2, 0.35)
    else:
        brightness, slope = rng.uniform(0.9, 1.1), rng.uniform(0.0, 0.1)
    return _plain(brightness, slope * np.cos(angle), slope * np.sin(angle))


def sample_colours(rng: np.random.Generator, count: int, unseen: bool) -> list[int]:
    """Return `count` colours of the palette, all different if it has as many; else the last ones, of clutter, are alike."""
    first = NUM_SEEN_COLOURS if unseen else 0
    number = len(PALETTE) - NUM_SEEN_COLOURS if unseen else NUM_SEEN_COLOURS
    order = rng.permutation(number)
    return [first + int(order[min(slot, number - 1)]) for slot in range(count)]


def sample_clutter(rng: np.random.Generator, unseen: bool) -> list[int]:
    """Return the shapes of the clutter: at most one disc if seen; two or three of other shapes if unseen."""
    if unseen:
        return [int(rng.choice(UNSEEN_CLUTTER)) for _ in range(int(rng.integers(2, MOST_CLUTTER + 1)))]
    return [SEEN_CLUTTER[0]] * int(rng.integers(2))


def sample_camera(rng: np.random.Generator, unseen: bool) -> list[float]:
    """Return the shift (2,) of the picture in units."""
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(*(UNSEEN_SHIFT if unseen else SEEN_SHIFT))
    return _plain(length * np.cos(angle), length * np.sin(angle))


def table_colours(texture: int, x: Array, y: Array) -> Array:
    """Return the colours (..., 3) of a table at places x and y (...), 0 to 255, before it is lit."""
    rng = np.random.default_rng(texture)
    unseen = texture % 2 == 0
    family = FAMILIES[unseen][int(rng.integers(3))]
    tint = np.array(TINTS[unseen][int(rng.integers(3))], float) * rng.uniform(0.85, 1.1)
    contrast, turn, phase = rng.uniform(0.08, 0.16), rng.uniform(0, np.pi), rng.uniform(0, 6, 2)
    along, across = (x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn))
    if family == "grain":
        wave = np.sin(2.1 * across + 1.3 * np.sin(0.25 * along) + phase[0]) * 0.6 + np.sin(0.9 * across + phase[1]) * 0.4
    elif family == "blotches":
        wave = np.sin(0.45 * x + phase[0]) * np.sin(0.4 * y + phase[1]) + 0.4 * np.sin(0.9 * (x + y))
    elif family == "checks":
        wave = np.where((np.floor((x + phase[0]) / 5) + np.floor((y + phase[1]) / 5)) % 2 == 0, 1.0, -1.0)
    elif family == "stripes":
        wave = np.where(np.floor((across + phase[0]) / 3) % 2 == 0, 1.0, -1.0)
    elif family == "dots":
        wave = np.where(np.hypot((x + phase[0]) % 6 - 3, (y + phase[1]) % 6 - 3) < 1.6, 1.6, -0.4)
    else:
        wave = np.zeros_like(x)
    colours: Array = tint * (1 + contrast * wave)[..., None]
    return colours


def light_at(lighting: Array, places: Array) -> Array:
    """Return the brightness (...) at places (..., 2) of the table, lighting (..., 3)."""
    offset = places / 20.0 - 1.0  # -1 to 1 over the table
    light: Array = lighting[..., 0] * (1 + lighting[..., 1] * offset[..., 0] + lighting[..., 2] * offset[..., 1])
    return light


def _plain(*values: float) -> list[float]:
    return [round(float(value), 3) for value in values]
