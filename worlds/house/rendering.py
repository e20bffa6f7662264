"""The agent's picture: the room it is in, and nothing else of the house.

A picture is fixed to the room, not to the agent: 24 x 24 px, 1.5 px a unit. The floor is a pattern of 4 x 4 blocks of random
colours, which differs from room to room and from house to house; walls are black, doors white, the charger is yellow, the
agent red. Shapes: B rows, N frames, R rooms per house.
"""

import numpy as np

from worlds.house.map import DOOR_HALF_WIDTH, ROOM, Array, corner_of, is_vertical, room_of, rooms_of, walls_of

SIZE = 24  # px
SCALE = SIZE / ROOM  # px a unit
BLOCKS = 4  # of the floor, on both axes
FLOOR_LOW, FLOOR_HIGH = 10, 110
WALL_PX = 2
CHARGER_RADIUS, AGENT_SIGMA = 2.2, 1.3  # px
DOOR, CHARGER, AGENT = (255, 255, 255), (255, 220, 0), (255, 0, 0)
CENTRES = (np.arange(SIZE) + 0.5) / SCALE  # of the pixels, in units of the room
CHUNK = 128  # frames at a time, for the processor's cache


def draw_rooms(doors: Array, look: int, home: int, charger: Array) -> Array:
    """Draw the rooms of a house without the agent.

    Args:
        doors: (W,), see `worlds.house.map`.
        look: the seed of the floors.
        home: the charger's room.
        charger: (2,) units.

    Returns:
        (R, 24, 24, 3) uint8; rows are y, columns x.
    """
    rooms = rooms_of(len(doors))
    blocks = np.random.default_rng(look).integers(FLOOR_LOW, FLOOR_HIGH + 1, (rooms**2, BLOCKS, BLOCKS, 3), np.uint8)
    drawn = blocks.repeat(SIZE // BLOCKS, axis=1).repeat(SIZE // BLOCKS, axis=2)
    for band in (slice(0, WALL_PX), slice(SIZE - WALL_PX, SIZE)):
        drawn[:, band] = 0
        drawn[:, :, band] = 0
    for wall in np.flatnonzero(doors > 0).tolist():
        gap = np.abs(CENTRES - doors[wall]) <= DOOR_HALF_WIDTH
        first, second = walls_of(rooms)[wall]
        for room, band in ((first, slice(SIZE - WALL_PX, SIZE)), (second, slice(0, WALL_PX))):
            picture = drawn[room] if is_vertical(wall, rooms) else drawn[room].swapaxes(0, 1)
            picture[gap, band] = DOOR
    x, y = charger - corner_of(home, rooms)
    away = np.hypot(CENTRES[None] - x, CENTRES[:, None] - y) * SCALE
    drawn[home][away <= CHARGER_RADIUS] = CHARGER
    return drawn


def draw_agent(rooms: Array, place: Array, side: int) -> Array:
    """Draw the agent in pictures of the rooms it is in.

    Args:
        rooms: (N, R, 24, 24, 3), the rooms of each frame's house.
        place: (N, 2), the agent's place in units of the house.
        side: K, rooms per side.

    Returns:
        (N, 24, 24, 3) uint8.
    """
    room = room_of(place, side)
    inside = (place - ROOM * np.stack([room % side, room // side], axis=1)).astype(np.float32)
    frames = np.empty((len(place), SIZE, SIZE * 3), np.uint8)
    for first in range(0, len(place), CHUNK):
        part = slice(first, first + CHUNK)
        rows = np.arange(first, min(first + CHUNK, len(place)))
        floor = rooms[rows, room[part]].reshape(-1, SIZE, SIZE * 3).astype(np.float32)
        frames[part] = _dotted(floor, inside[part])
    return frames.reshape(-1, SIZE, SIZE, 3)


_RED = np.tile(np.asarray(AGENT, np.float32), SIZE)
_CENTRES = CENTRES.astype(np.float32)
_WIDTH = np.float32(-0.5 * (SCALE / AGENT_SIGMA) ** 2)


def _dotted(floor: Array, place: Array) -> Array:
    """Blend the agent into floors (N, 24, 72) float32 at places (N, 2) of the room; rounding by 0.5 for the cast."""
    across, down = (np.exp((_CENTRES - place[:, axis, None]) ** 2 * _WIDTH) for axis in (0, 1))
    bell: Array = down[:, :, None] * across.repeat(3, axis=1)[:, None, :]
    bell *= _RED - floor
    bell += floor
    bell += np.float32(0.5)
    return bell
