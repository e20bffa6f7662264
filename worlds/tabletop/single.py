"""One table, as a gymnasium environment: the first row of the vector environment, so that both agree."""

from dataclasses import fields
from typing import Any

import gymnasium
import numpy as np

from worlds.tabletop.settings import Settings
from worlds.tabletop.state import Array
from worlds.tabletop.world import Info, Observation, Options, TableTopVectorEnv


class TableTopEnv(Settings, gymnasium.Env):
    """One row of `TableTopVectorEnv`, with the same `Settings` and episode ends; options have no row axis."""

    metadata = {name: value for name, value in TableTopVectorEnv.metadata.items() if name != "autoreset_mode"}
    pair_kinds = TableTopVectorEnv.pair_kinds
    max_episode_steps = TableTopVectorEnv.max_episode_steps

    def __post_init__(self) -> None:
        self._rows = TableTopVectorEnv(1, **{one.name: getattr(self, one.name) for one in fields(Settings)})
        self.observation_space = self._rows.single_observation_space
        self.action_space = self._rows.single_action_space

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Start an episode; options: none, or all of `worlds.tabletop.episodes.sample_episode`."""
        super().reset(seed=seed)
        # the row draws from this environment's gymnasium generator, `np_random`
        self._rows.generators[0] = self.np_random
        batched = {name: np.asarray(value)[None] for name, value in (options or {}).items()}
        observation, info = self._rows.reset(options=batched)
        return _first_row(observation), _first_row(info)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Apply an action (3,); see `TableTopVectorEnv.step`."""
        observation, reward, terminated, truncated, info = self._rows.step(np.asarray(action)[None])
        return _first_row(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first_row(info)

    def render(self) -> Array | None:
        """Return the picture of the table, (192, 192, 3) uint8, or None without a render mode."""
        frames = self._rows.render()
        return None if frames is None else frames[0]

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """See `TableTopVectorEnv.sample_pairs`."""
        return self._rows.sample_pairs(seed, num_pairs)


def _first_row(batch: dict[str, Any]) -> dict[str, Any]:
    """Return row 0 without gymnasium's masks."""
    return {key: value[0] for key, value in batch.items() if not key.startswith("_")}
