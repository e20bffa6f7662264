"""Pictures of the table: floor, table and plate once per episode, objects and gripper at every frame.

A picture of `size` px shows 48 x 48 units: the table of 40 x 40 and 4 units of floor around it, shifted by the camera.
Pictures are anti-aliased; the place of an object is drawn to 1/8 px. Shapes: B rows, N objects, C = size + 2 PAD px, the
side of a canvas, which is a picture with a border that sprites may reach into.
"""

from typing import Any, NamedTuple

import numpy as np

from worlds.tabletop.looks import PALETTE, light_at, table_colours
from worlds.tabletop.physics import FINGER, OPEN, TABLE
from worlds.tabletop.sprites import NUM_PHASES, masks
from worlds.tabletop.state import Array

MARGIN, VIEW = 4.0, 48.0  # units
PAD = 4  # px
FLOOR, PLATE, PLATE_RIM, GRIPPER = (38, 36, 40), (236, 234, 226), (168, 166, 160), (12, 12, 16)
PLATE_RADIUS, PLATE_RIM_WIDTH = 4.8, 1.0  # units
FINGER_LENGTH, PALM = 2.0, 0.4  # half of the length of a finger in y, and of the width of the bar between both, in units


class Scene(NamedTuple):
    """What is constant in the pictures of B episodes.

    Attributes:
        canvas: (B, C, C, 3) uint8, floor, table and plate.
        shapes: (B, N) int, -1 for an absent object.
        colours: (B, N) int.
        lighting: (B, 3).
        camera: (B, 2) units.
    """

    canvas: Array
    shapes: Array
    colours: Array
    lighting: Array
    camera: Array


def draw_table(size: int, texture: int, lighting: Array, camera: Array, plate: Array) -> Array:
    """Draw a canvas (C, C, 3) uint8 of a table without objects: lighting (3,), camera (2,), plate (2,)."""
    at = (np.arange(size + 2 * PAD) - PAD + 0.5) * (VIEW / size) - MARGIN
    x, y = np.meshgrid(at - camera[0], at - camera[1])
    pixel = VIEW / size
    inside = [np.clip((np.minimum(one, TABLE - one) / pixel) + 0.5, 0.0, 1.0) for one in (x, y)]
    covered = (inside[0] * inside[1])[..., None]
    picture = np.asarray(FLOOR) * (1 - covered) + table_colours(texture, x, y) * covered
    away = np.hypot(x - plate[0], y - plate[1])
    for radius, colour in ((PLATE_RADIUS, PLATE_RIM), (PLATE_RADIUS - PLATE_RIM_WIDTH, PLATE)):
        share = np.clip((radius - away) / pixel + 0.5, 0.0, 1.0)[..., None]
        picture = picture * (1 - share) + np.asarray(colour) * share
    lit = picture * light_at(lighting, np.stack([x, y], axis=-1))[..., None]
    canvas: Array = np.clip(lit + 0.5, 0, 255).astype(np.uint8)
    return canvas


def draw(scene: Scene, size: int, gripper: Array, gap: Array, places: Array) -> Array:
    """Draw pictures.

    Args:
        scene: of B rows.
        size: px of a picture's side.
        gripper: (B, 2) units.
        gap: (B,) units, from the gripper's centre to its fingers.
        places: (B, N, 2) units, of the objects.

    Returns:
        (B, size, size, 3) uint8; rows are y, columns x.
    """
    canvas, scale = scene.canvas.copy(), size / VIEW
    atlas = masks(scale)
    light = light_at(scene.lighting[:, None], places)
    for slot in range(places.shape[1]):
        rows = np.flatnonzero(scene.shapes[:, slot] >= 0)
        if len(rows):
            colour = PALETTE[scene.colours[rows, slot]] * light[rows, slot, None]
            _paste(canvas, rows, atlas, scene.shapes[rows, slot], (places[rows, slot] + scene.camera[rows] + MARGIN) * scale,
                   colour)
    _draw_gripper(canvas, scale, (gripper + scene.camera + MARGIN) * scale, gap * scale, light_at(scene.lighting, gripper))
    return np.ascontiguousarray(canvas[:, PAD:-PAD, PAD:-PAD])


def _paste(canvas: Array, rows: Array, atlas: Array, shapes: Array, centre: Array, colour: Array) -> None:
    """Blend sprites into the rows (n,) of a canvas: centres (n, 2) px of the picture, colours (n, 3)."""
    side = atlas.shape[3]
    corner = centre - side / 2 + PAD
    first = np.floor(corner).astype(np.int64)
    phase = np.minimum(((corner - first) * NUM_PHASES).astype(np.int64), NUM_PHASES - 1)
    mask = atlas[shapes, phase[:, 1], phase[:, 0]]
    _blend(canvas, rows, first, mask[..., 0], mask[..., 1], colour)


def _draw_gripper(canvas: Array, scale: float, centre: Array, gap: Array, light: Array) -> None:
    """Blend grippers into all rows of a canvas: two fingers and the bar between them, centres (B, 2) and gaps (B,) in px."""
    half = int(np.ceil((OPEN + FINGER) * scale)) + 1, int(np.ceil(FINGER_LENGTH * scale)) + 1
    first = np.floor(centre).astype(np.int64) - half + PAD
    x, y = (np.arange(2 * h + 1) + f[:, None] - PAD - c[:, None]
            for h, f, c in zip(half, first.T, centre.T, strict=True))  # of a pixel's left or top edge, from the centre
    finger, palm, length = FINGER * scale, PALM * scale, FINGER_LENGTH * scale
    across = _covered(x, -gap - finger, -gap + finger) + _covered(x, gap - finger, gap + finger)
    down = _covered(y, -length, length)
    bar = _covered(x, -gap, gap)[:, None] * _covered(y, -length, 2 * palm - length)[..., None]
    mask = np.maximum(np.minimum(across, 1.0)[:, None] * down[..., None], bar)
    _blend(canvas, np.arange(len(canvas)), first, mask, mask, np.asarray(GRIPPER) * light[:, None])


def _covered(edge: Array, low: Any, high: Any) -> Array:
    """Return the share (B, n) of each pixel, given by its lower edge (B, n), between two bounds, (B,) or numbers."""
    low, high = (np.reshape(bound, (-1, 1)) for bound in (low, high))
    share: Array = np.clip(np.minimum(edge + 1, high) - np.maximum(edge, low), 0.0, 1.0).astype(np.float32)
    return share


def _blend(canvas: Array, rows: Array, first: Array, cover: Array, lit: Array, colour: Array) -> None:
    """Blend masks (n, h, w) of coverage and brightness in a colour (n, 3) into rows (n,), at their first pixels (n, 2)."""
    (height, width), side = cover.shape[1:], canvas.shape[1]
    down = rows[:, None] * side + first[:, 1, None] + np.arange(height)
    index = down[..., None] * side + (first[:, 0, None] + np.arange(width))[:, None]
    pixels = canvas.reshape(-1, 3)  # one index a pixel is faster than three
    over = lit[..., None] * colour.astype(np.float32)[:, None, None]
    over += pixels[index] * (1 - cover)[..., None]
    over += np.float32(0.5)
    pixels[index] = np.minimum(over, np.float32(255), out=over)
