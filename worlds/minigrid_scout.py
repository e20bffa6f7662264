"""A script that knows the map of MiniGrid-Memory, to collect experience."""

import numpy as np

EAST, SOUTH, WEST, NORTH = range(4)
LEFT, RIGHT, FORWARD = range(3)
NUM_ARMS = 2


class Scout:
    """Walks west until it has seen the first object, then east to the fork, and into an arm drawn by the world: it does not
    know which one is right. In a third of the episodes it does not look first."""

    def choose(self, map: np.ndarray) -> np.ndarray:
        """Return actions (B,) for maps (B, 7), as `worlds.minigrid_view` sends them."""
        return np.array([_move(*row) for row in map.astype(int)], dtype=np.int64)


def _move(column: int, row: int, direction: int, middle: int, fork: int, seen: int, number: int) -> int:
    if column == fork:
        heading = SOUTH if number % 2 else NORTH
    elif row != middle:
        heading = SOUTH if row < middle else NORTH
    else:
        heading = EAST if seen or number < NUM_ARMS else WEST
    turn = (heading - direction) % 4
    return FORWARD if turn == 0 else LEFT if turn == 3 else RIGHT
