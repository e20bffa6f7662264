"""One house, as a gymnasium environment: the first row of the vector environment, so that both agree."""

from typing import Any

import gymnasium
import numpy as np

from worlds.house.map import Array
from worlds.house.world import HouseVectorEnv, Info, Observation, Options


class HouseEnv(gymnasium.Env):
    """One row of `HouseVectorEnv`, with its settings and episode ends; options have no row axis."""

    metadata = {name: value for name, value in HouseVectorEnv.metadata.items() if name != "autoreset_mode"}
    pair_kinds = HouseVectorEnv.pair_kinds

    def __init__(
        self,
        *,
        rooms: int = 3,
        kind: str = "walk",
        observe: str = "pixels",
        errands: int = 4,
        battery: float = 100.0,
        home_max: int = 3,
        tour: bool = True,
        shut: bool = False,
        thinking_cost: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        self._rows = HouseVectorEnv(1, rooms=rooms, kind=kind, observe=observe, errands=errands, battery=battery,
                                    home_max=home_max, tour=tour, shut=shut, thinking_cost=thinking_cost,
                                    render_mode=render_mode)
        self.metadata = {name: value for name, value in self._rows.metadata.items() if name != "autoreset_mode"}
        self.max_episode_steps = self._rows.max_episode_steps
        self.observation_space = self._rows.single_observation_space
        self.action_space = self._rows.single_action_space
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Start an episode; options: none, or all of `worlds.house.episodes.sample_episode`."""
        super().reset(seed=seed)
        # the row draws from this environment's gymnasium generator, `np_random`
        self._rows.generators[0] = self.np_random
        batched = {name: np.asarray(value)[None] for name, value in (options or {}).items()}
        observation, info = self._rows.reset(options=batched)
        return _first_row(observation), _first_row(info)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Apply an action (2,); see `HouseVectorEnv.step`."""
        batched = {name: np.asarray(value)[None] for name, value in action.items()} if isinstance(action, dict) else (
            np.asarray(action)[None])
        observation, reward, terminated, truncated, info = self._rows.step(batched)
        return (_first_row(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first_row(info))

    def render(self) -> Array | None:
        """Return the picture of the whole house, uint8, or None without a render mode."""
        frames = self._rows.render()
        return None if frames is None else frames[0]

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """See `HouseVectorEnv.sample_pairs`."""
        return self._rows.sample_pairs(seed, num_pairs)


def _first_row(batch: dict[str, Any]) -> dict[str, Any]:
    """Return row 0 without gymnasium's masks."""
    return {key: value[0] for key, value in batch.items() if not key.startswith("_")}
