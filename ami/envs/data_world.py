"""DataWorld: a world that only says what a file of episodes holds, to learn without an environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from torch import Tensor

from ami.data.read import Data
from ami.data.recording import ActionCode
from ami.data.replay_buffer import ACTION, OBSERVATION, REWARD, TRUTH
from ami.envs.facts import port_facts
from ami.envs.make import fitted
from ami.envs.vector import Rows
from ami.envs.world import GymWorld
from ami.errors import SettingError, require

NO_ENVIRONMENT = ("world=data has no environment: it says what '{path}' holds. Fix: learn with `ami train`; to act, "
                  "`ami.load(RUN).act(observation)` in your own loop, or world=gym world.id=… with learning.data='{path}'")


class DataEnv(gymnasium.Env):
    """The spaces of recorded episodes. It always shows the first recorded observation.

    Args:
        observation_space, action_space: its spaces.
        shown: the first observation.
        info: what a reset and a step report.
    """

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space, shown: Any,
                 info: Mapping[str, Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._shown, self._info = shown, dict(info)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return the first recorded observation."""
        super().reset(seed=seed)
        return self._shown, dict(self._info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the first recorded observation again."""
        return self._shown, 0.0, False, False, dict(self._info)


class DataWorld(GymWorld):
    """A world with the ports of recorded episodes. It refuses to be stepped: nothing acts in it.

    Without recorded rewards, or with `goal`, it has a goal that is an observation, so that an agent learns to reach one.

    Args:
        path: the file, in any format that `ami data show` reads.
        fields: names of its arrays by field, {observation: pixels}.
        low, high: the bounds of its actions, if they are numbers; they become [-1, 1].
        choices: the number of its actions, if they are whole numbers; None counts those that occur.
        goal: whether the agent is to reach an observation; None: if no rewards were recorded.

    Raises:
        DataError: there is no such file, or its first episode cannot be learnt from.
        SettingError: a setting is out of its range.
    """

    def __init__(self, path: str = "", fields: Mapping[str, str] | None = None, low: float = -1.0, high: float = 1.0,
                 choices: int | None = None, goal: bool | None = None) -> None:
        require(bool(path), "world.path is missing: expected a file of episodes. Fix: world.path=FILE")
        require(low < high, f"DataWorld.low is {low} and high is {high}: expected low below high")
        require(choices is None or choices >= 1, f"DataWorld.choices is {choices}: expected 1 or more, or null")
        stated = ActionCode(low, high, choices or 0) if choices or (low, high) != (-1, 1) else None
        self.data = Data.at(Path(path), fields, stated)
        first = next(self.data.episodes(), None)
        if first is None:
            raise SettingError(f"world.path is '{path}', which holds no episodes: expected at least one")
        self._goal = REWARD not in first if goal is None else goal
        self._shown = {name: value[0] for name, value in first.items()}
        super().__init__("data")
        self.settings = {"path": str(path), **({"fields": dict(fields)} if fields else {})}

    def make_env(self) -> gymnasium.Env:
        """Return an environment with the spaces of the data."""
        seen, width = self._shown[OBSERVATION].numpy(), len(self._shown[ACTION])
        box = Box(0, 255, seen.shape, np.uint8) if seen.dtype == np.uint8 else Box(-np.inf, np.inf, seen.shape, np.float32)
        choices = self.data.choices
        space: gymnasium.Space = Box(-1, 1, (width,), np.float32)
        if choices and sum(choices) == width:
            space = Discrete(width) if len(choices) == 1 else MultiDiscrete(list(choices))
        info = {"state": self._shown[TRUTH].numpy()} if TRUTH in self._shown else {}
        shown = seen.astype(box.dtype)
        if self._goal:
            return DataEnv(Dict({OBSERVATION: box, "goal": box}), space, {OBSERVATION: shown, "goal": shown}, info)
        return DataEnv(box, space, shown, info)

    def step(self, action: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:
        raise SettingError(NO_ENVIRONMENT.format(path=self.data.path))

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        raise SettingError(NO_ENVIRONMENT.format(path=self.data.path))

    def warnings(self) -> list[str]:
        return []

    @property
    def reports_success(self) -> bool:  # type: ignore[override]
        return False

    def facts(self) -> dict[str, str]:
        """Return its ports, its actions and its file."""
        return port_facts(self) | {"data": f"{self.data.path} ({self.data.kind})"}

    def _make(self, num_envs: int) -> Any:
        found = [fitted(self.make_env(), self.env_id) for _ in range(num_envs)]
        return Rows([env for env, _ in found], found[0][1], 1)
