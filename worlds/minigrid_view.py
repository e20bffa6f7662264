"""What a MiniGrid agent sees, as a binary vector, for agents without an image encoder."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from minigrid.core.constants import OBJECT_TO_IDX

KINDS = ("empty", "wall", "key", "ball")
NUM_DIRECTIONS = 4
MOVES, NUMBERS = 3, 6
"""The actions left, right and forward, the first three of MiniGrid; and the numbers that a script may get."""
WEST = 2


class View(gymnasium.Wrapper[Any, int, Any, int]):
    """The partial view of MiniGrid-Memory in one-hot: the kind of each of the 7 x 7 cells in front of the agent, zeros where
    it is hidden, and the agent's direction. The only actions are left, right and forward; the others do nothing there.

    `success` of info is whether the episode ended with a reward. The key `map` is for scripts that collect experience, never
    for an agent: column, row and direction of the agent, the row of the hallway, the column of the fork, whether the first
    object was seen, facing west from the hallway, a number drawn per episode, 0 to 5, by which a script chooses, and whether
    the fork was reached.
    """

    metadata = {"on_demand": ["map"]}

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.metadata = {**env.metadata, **View.metadata}
        self._kinds = np.array([OBJECT_TO_IDX[kind] for kind in KINDS])
        self._grid: Any = env.unwrapped
        cells = int(np.prod(env.observation_space["image"].shape[:2]))  # type: ignore[index]
        seen = Box(0, 1, (cells * len(KINDS) + NUM_DIRECTIONS,), np.float32)
        self.observation_space = Dict({"observation": seen, "map": Box(0, np.inf, (8,), np.float32)})
        self.action_space = Discrete(MOVES)  # type: ignore[assignment]
        self._seen, self._reached, self._number = False, False, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        seen, info = self.env.reset(seed=seed, options=options)
        self._seen, self._reached, self._number = False, False, int(self.np_random.integers(NUMBERS))
        return self._read(seen), {**info, "success": False}

    def step(self, action: int) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        seen, reward, terminated, truncated, info = self.env.step(action)
        return self._read(seen), reward, terminated, truncated, {**info, "success": bool(terminated and float(reward) > 0)}

    def _read(self, seen: Any) -> dict[str, np.ndarray]:
        """Return vector and map of MiniGrid's observation."""
        cells = seen["image"][..., :1] == self._kinds
        vector = np.concatenate([cells.ravel(), np.arange(NUM_DIRECTIONS) == seen["direction"]]).astype(np.float32)
        (column, row), direction = self._grid.agent_pos, seen["direction"]
        middle, fork = self._grid.height // 2, int(self._grid.success_pos[0])
        self._seen |= bool(direction == WEST and row == middle and column < fork and cells[..., 2:].any())
        self._reached |= column == fork
        place = np.array([column, row, direction, middle, fork, self._seen, self._number, self._reached], np.float32)
        return {"observation": vector, "map": place}
