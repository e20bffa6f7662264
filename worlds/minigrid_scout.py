"""A script that knows the map of MiniGrid-Memory, to collect experience."""

import numpy as np

EAST, SOUTH, WEST, NORTH = range(4)
LEFT, RIGHT, FORWARD = range(3)
NUM_ARMS = 2


class Scout:
    """Walks west until it has seen the first object, then east to the fork, and into an arm drawn by the world: it does not
    know which one is right. In a third of the episodes it does not look, in another third only after it was at the fork."""

    def choose(self, map: np.ndarray) -> np.ndarray:
        """Return actions (B,) for maps (B, 8), as `worlds.minigrid_view` sends them."""
        return np.array([_move(*row) for row in map.astype(int)], dtype=np.int64)


def _move(column: int, row: int, direction: int, middle: int, fork: int, seen: int, number: int,
          reached: int) -> int:
    blind, late = number < NUM_ARMS, number >= 2 * NUM_ARMS
    if column == fork and (seen or not late):
        heading = SOUTH if number % 2 else NORTH
    elif row != middle:
        heading = SOUTH if row < middle else NORTH
    else:
        heading = EAST if seen or blind or (late and not reached) else WEST
    turn = (heading - direction) % 4
    return FORWARD if turn == 0 else LEFT if turn == 3 else RIGHT
