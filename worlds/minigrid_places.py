"""MiniGrid's whole grid as a vector of one-hot positions, for agents without an image encoder."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

THINGS = ("key", "door", "goal")
DOOR_STATES = ("open", "closed", "locked")
NUM_DIRECTIONS = 4


class Places(gymnasium.ObservationWrapper):
    """One-hot observations of a MiniGrid world: column and row of the agent, the key, the door and the goal, the
    agent's direction, the door's state, and whether the key is carried.

    For worlds with at most one of each, such as DoorKey. Absent objects have zeros. The whole grid is observed, as with
    minigrid's FullyObsWrapper, and also the carried object, which that wrapper omits.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        grid: Any = env.unwrapped
        self.size = (grid.width, grid.height)
        places = (1 + len(THINGS)) * sum(self.size)
        self.observation_space = Box(0, 1, (places + NUM_DIRECTIONS + len(DOOR_STATES) + 1,), np.float32)

    def observation(self, observation: Any) -> np.ndarray:
        """Return the vector (D,); MiniGrid's own observation is ignored."""
        grid: Any = self.env.unwrapped
        where: dict[str, tuple[int, int]] = {"agent": tuple(grid.agent_pos)}
        door = np.zeros(len(DOOR_STATES), np.float32)
        for number, thing in enumerate(grid.grid.grid):
            if thing is not None and thing.type in THINGS:
                where[thing.type] = (number % self.size[0], number // self.size[0])
                if thing.type == "door":
                    door[0 if thing.is_open else 2 if thing.is_locked else 1] = 1
        parts = [self._place(where.get(name)) for name in ("agent", *THINGS)]
        direction = np.eye(NUM_DIRECTIONS, dtype=np.float32)[grid.agent_dir]
        carries = np.array([grid.carrying is not None], np.float32)
        return np.concatenate([*parts, direction, door, carries])

    def _place(self, place: tuple[int, int] | None) -> np.ndarray:
        shown = np.zeros(sum(self.size), np.float32)
        if place is not None:
            shown[place[0]] = shown[self.size[0] + place[1]] = 1
        return shown
