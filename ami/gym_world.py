"""GymWorld: any gymnasium environment as the world node.

A vectorised environment (`vector_entry_point`) is driven as it is; any other is made B times. Observations are either one
box, or a dict with "observation" and "goal" (goal-conditioned worlds). Evaluators read the true state from info["state"]
and success from info["success"]; a world that tells no success claims none.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from ami.blueprint import Episode, World
from ami.errors import SettingError, require, suggestion
from ami.ports import Size

SUCCESS = ("success", "is_success")
"""What environments call it in their info; one that says neither is judged by its return."""


class GymWorld(World):
    """B gymnasium worlds side by side. Rows whose episode is over stand still until they begin anew.

    Args:
        id: a gymnasium id; "package:id" imports the package that registers it.
        settings: keyword arguments of the environment, which refuses those it does not know.

    Raises:
        SettingError: the id or a setting is unknown, or the spaces are not boxes.
    """

    def __init__(self, id: str, **settings: Any) -> None:
        super().__init__()
        self.env_id, self.settings = id, settings
        self.rows: Any = self._make(1)
        box = self.rows.single_observation_space
        spaces = dict(box.spaces) if isinstance(box, gymnasium.spaces.Dict) else {"observation": box}
        self._observation = _box(id, "observation", spaces.get("observation"))
        self._goal = _box(id, "goal", spaces["goal"]) if "goal" in spaces else None
        self._action = _box(id, "action", self.rows.single_action_space)
        self.outputs = {**World.outputs, "observation": World.outputs["observation"].with_dtype(_dtype(self._observation))}
        if self._goal is not None:
            self.outputs["goal"] = World.outputs["goal"].with_dtype(_dtype(self._goal))
        _, info = self.rows.reset(seed=0)
        self._truth_size = int(np.shape(info["state"])[1]) if "state" in info else 0
        self.tells_success = _told(info) or _told(self.rows.step(self._action.sample()[None])[-1])
        self._episodes: list[Episode] = []
        self._fresh = torch.zeros(0, dtype=torch.bool)

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"O": self._observation.shape, "G": (0,) if self._goal is None else self._goal.shape,
                "A": int(np.prod(self._action.shape)), "X": self._truth_size}

    def assign(self, mask: Tensor, episodes: list[Episode]) -> None:
        if len(mask) != len(self._episodes):
            self._episodes = list(episodes)
        for row in mask.nonzero()[:, 0].tolist():
            self._episodes[row] = episodes[row]

    def reset(self, mask: Tensor) -> None:
        if self.rows.num_envs != len(mask):
            self.rows.close()
            self.rows = self._make(len(mask))
        # a new batch size made new environments: all of them have to begin
        self._fresh = mask | self._fresh if len(self._fresh) == len(mask) else torch.ones(len(mask), dtype=torch.bool)

    def step(self, action: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        batch = len(action)
        reward, over = np.zeros(batch, np.float32), [np.zeros(batch, bool), np.zeros(batch, bool)]
        fresh = self._fresh.numpy()
        if not fresh.all():
            low, high = self._action.low, self._action.high
            taken = np.clip(action.cpu().numpy().reshape(batch, *self._action.shape), low, high).astype(self._action.dtype)
            seen, reward, *over, info = self.rows.step(taken)
        if fresh.any():
            seeds = [e.seed if new else None for e, new in zip(self._episodes, fresh, strict=True)]
            seen, info = self.rows.reset(seed=seeds, options={"reset_mask": fresh.copy(), **self._options()})
            over = [np.where(fresh, False, flag) for flag in over]
            reward = np.where(fresh, 0.0, reward)
            self._fresh = torch.zeros(batch, dtype=torch.bool)
        pixels, goal = (seen["observation"], seen["goal"]) if isinstance(seen, dict) else (seen, np.zeros((batch, 0)))
        success = next((info[name] for name in SUCCESS if name in info), np.zeros(batch, bool))
        return {
            "observation": torch.as_tensor(pixels, dtype=self.outputs["observation"].dtype),
            "goal": torch.as_tensor(goal, dtype=self.outputs["goal"].dtype or torch.float32),
            "reward": torch.as_tensor(reward, dtype=torch.float32),
            "terminated": torch.as_tensor(over[0], dtype=torch.bool),
            "truncated": torch.as_tensor(over[1], dtype=torch.bool),
            "success": torch.as_tensor(success, dtype=torch.bool),
            "truth": torch.as_tensor(info.get("state", np.zeros((batch, 0))), dtype=torch.float32),
        }

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """Start and goal pairs for an evaluation, `num_pairs` of each kind the world knows, none solved at the start.

        A world without goals gives seeds only, of the kind "episode".
        """
        sampler = getattr(self.rows, "sample_pairs", None)
        if sampler is None:
            draw = np.random.default_rng(seed)
            return [{"kind": "episode", "seed": int(draw.integers(2**31))} for _ in range(num_pairs)]
        return list(sampler(seed=seed, num_pairs=num_pairs))

    def _options(self) -> dict[str, Any]:
        """What the episodes say of their beginnings, one array per option, a row per world."""
        names = sorted({name for episode in self._episodes for name in episode.options})
        if any(name not in episode.options for name in names for episode in self._episodes):
            raise SettingError(f"the episodes of one batch give different options ({', '.join(names)}): "
                               "expected the same ones in every row")
        return {name: np.asarray([episode.options[name] for episode in self._episodes]) for name in names}

    def _make(self, num_envs: int) -> Any:
        package, _, name = self.env_id.rpartition(":")
        try:
            if package:
                importlib.import_module(package)
            spec = gymnasium.spec(name)
        except ImportError as error:
            raise SettingError(f"world '{self.env_id}' needs the package '{package}': {error}") from None
        except gymnasium.error.Error:
            near = suggestion(name, gymnasium.registry)
            raise SettingError(f"world '{self.env_id}' is not registered with gymnasium{near} "
                               "Cure: 'package:id' imports the package that registers it") from None
        try:
            if spec.vector_entry_point is not None:
                rows = gymnasium.make_vec(name, num_envs, vectorization_mode="vector_entry_point", **self.settings)
                if rows.metadata.get("autoreset_mode") == AutoresetMode.DISABLED:
                    return rows
                rows.close()  # it would begin anew by itself
                require(spec.entry_point is not None, f"{self.env_id} begins episodes anew by itself: expected a vector "
                                                      "environment with autoreset_mode DISABLED, or a single one beside it")
            return _Rows(name, num_envs, self.settings)
        except TypeError as error:
            raise SettingError(f"{self.env_id} refused the settings {self.settings}: {error}") from None


class _Rows:
    """B single environments stepped one after another; gymnasium's own SyncVectorEnv would step finished rows too."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}

    def __init__(self, env_id: str, num_envs: int, settings: Mapping[str, Any]) -> None:
        self.envs = [gymnasium.make(env_id, **settings) for _ in range(num_envs)]
        self.num_envs = num_envs
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self._last: list[Any] = [None] * num_envs
        self._infos: list[dict[str, Any]] = [{}] * num_envs
        self._flags = np.zeros((2, num_envs), bool)

    def reset(self, seed: Any = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        seeds = [seed] * self.num_envs if seed is None or isinstance(seed, int) else seed
        given = dict(options or {})
        mask = given.pop("reset_mask", np.ones(self.num_envs, bool))
        for row in np.flatnonzero(mask):
            own = {name: value[row] for name, value in given.items()} or None
            self._last[row], self._infos[row] = self.envs[row].reset(seed=seeds[row], options=own)
            self._flags[:, row] = False
        return self._stacked(), self._info()

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        reward = np.zeros(self.num_envs, np.float32)
        for row in np.flatnonzero(~self._flags.any(axis=0)):
            self._last[row], reward[row], *self._flags[:, row], self._infos[row] = self.envs[row].step(actions[row])
        return self._stacked(), reward, self._flags[0].copy(), self._flags[1].copy(), self._info()

    def _stacked(self) -> Any:
        if isinstance(self._last[0], dict):
            return {key: np.stack([seen[key] for seen in self._last]) for key in self._last[0]}
        return np.stack(self._last)

    def _info(self) -> dict[str, Any]:
        """What evaluators read, where every row tells it: of success, some environments speak from the first step on."""
        info = {name: np.array([bool(info.get(name, False)) for info in self._infos])
                for name in SUCCESS if any(name in info for info in self._infos)}
        if all("state" in info for info in self._infos):
            info["state"] = np.stack([np.reshape(info["state"], -1) for info in self._infos])
        return info

    def close(self) -> None:
        for env in self.envs:
            env.close()


def _told(info: Mapping[str, Any]) -> bool:
    """Whether an environment says if it was solved."""
    return any(name in info for name in SUCCESS)


def _box(env: str, name: str, space: object) -> gymnasium.spaces.Box:
    if not isinstance(space, gymnasium.spaces.Box):
        raise SettingError(f"{env} has the {name} space {space}: expected a Box. Cure: a gymnasium wrapper")
    return space


def _dtype(space: gymnasium.spaces.Box) -> torch.dtype:
    return torch.uint8 if space.dtype == np.uint8 else torch.float32
