"""Rows: B gymnasium environments side by side without automatic resets.

`Rows` steps single environments one after another; `VectorRows` holds a vector environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from ami.envs.guard import Breach, raised, success_of
from ami.envs.spaces import Reading

SUCCESS = ("success", "is_success")
"""The names of success in an environment's info; without either, episodes are evaluated by return."""
FAILURE = "failure"
"""The entry of an info with the reason for which an episode failed; set by `ami.envs.failures` alone."""
FAILURE_BYTES = 300
LIMIT = 10_000
"""The number of steps after which an episode is truncated if the environment declares no limit."""
LIMITS = ("max_episode_steps", "_max_episode_steps", "max_steps")
"""The attribute names of an environment's own step limit."""


class RowFault(Exception):
    """An environment failed, or violated gymnasium's API.

    Attributes:
        row: the row of the fault; None if a vector environment does not report it.
        found: what was found, what was expected, the fix.
    """

    def __init__(self, row: int | None, found: str) -> None:
        super().__init__(row, found)
        self.row, self.found = row, found


class Rows:
    """B single environments stepped one after another; gymnasium's own SyncVectorEnv would step finished rows too.

    Args:
        envs: equal environments, as `make_rows` makes them.
        reading: the conversion of their observations to ports.
        limit: their declared number of steps per episode; None if they declare none.
    """

    def __init__(self, envs: Sequence[gymnasium.Env], reading: Reading, limit: int | None = None) -> None:
        self.envs, self.reading, self.limit = list(envs), reading, limit
        self.num_envs = len(self.envs)
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self._last: list[Any] = [None] * self.num_envs
        self._infos: list[dict[str, Any]] = [{}] * self.num_envs
        self._flags = np.zeros((2, self.num_envs), bool)
        self.current = np.zeros(1, np.int64)  # the row that is being stepped, read by a waiting parent process

    def reset(self, seeds: Sequence[int | None], mask: np.ndarray,
              options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Reset the rows of `mask` (B,); return observation and info of all rows. `options` are arrays (B, …).

        Raises:
            RowFault: an environment failed.
        """
        for row in np.flatnonzero(mask).tolist():
            own = {name: value[row] for name, value in options.items()} or None
            self._last[row], self._infos[row] = self._call(row, "reset", seed=seeds[row], options=own)
            self._flags[:, row] = False
        return self._stacked(), self._info()

    def step(self, actions: Sequence[Any] | np.ndarray) -> tuple[Any, ...]:
        """Step the running rows with B actions; return observation, reward, terminated, truncated and info of all rows.

        Raises:
            RowFault: an environment failed.
        """
        reward = np.zeros(self.num_envs, np.float64)
        for row in np.flatnonzero(~self._flags.any(axis=0)).tolist():
            self._last[row], reward[row], *self._flags[:, row], self._infos[row] = self._call(row, "step", actions[row])
        return self._stacked(), reward, self._flags[0].copy(), self._flags[1].copy(), self._info()

    def _call(self, row: int, method: str, *arguments: Any, **named: Any) -> Any:
        self.current[0] = row
        try:
            return getattr(self.envs[row], method)(*arguments, **named)
        except Breach as breach:
            raise RowFault(row, str(breach)) from None
        except (Exception, SystemExit) as error:
            raise RowFault(row, raised(error, f"{method}()")) from error

    def _stacked(self) -> Any:
        if isinstance(self._last[0], dict):
            return {key: np.stack([seen[key] for seen in self._last]) for key in self._last[0]}
        return np.stack(self._last)

    def _info(self) -> dict[str, Any]:
        """Return the entries of the infos that ami reads, if reported; some environments omit success at a reset."""
        info: dict[str, Any] = {}
        if any(name in own for own in self._infos for name in SUCCESS):
            info["success"] = np.array([self._success(row, own) for row, own in enumerate(self._infos)])
        if any("state" in own for own in self._infos):
            info["state"] = [own.get("state") for own in self._infos]
        if any("action_mask" in own for own in self._infos):
            info["action_mask"] = [own.get("action_mask") for own in self._infos]
        if any(FAILURE in own for own in self._infos):
            info[FAILURE] = [own.get(FAILURE, "") for own in self._infos]
        return info

    def _success(self, row: int, info: dict[str, Any]) -> bool:
        try:
            return success_of(info, SUCCESS)
        except Breach as breach:
            raise RowFault(row, str(breach)) from None

    @property
    def drawing(self) -> Any:
        """The environment that draws the first row."""
        return self.envs[0]

    @property
    def pair_sampler(self) -> Callable[..., Any] | None:
        """The environment's own `sample_pairs`."""
        return getattr(self.envs[0].unwrapped, "sample_pairs", None)

    def render(self) -> tuple[Any, ...]:
        """Return the pictures of all environments."""
        return tuple(env.render() for env in self.envs)

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()


class VectorRows:
    """A vector environment with autoreset mode DISABLED, checked as single ones are.

    Its return values are copied, since it may reuse its arrays at every step.

    Args:
        env: the vector environment.
        reading: the conversion of its observations to ports.
    """

    def __init__(self, env: Any, reading: Reading) -> None:
        self.env, self.reading, self.limit = env, reading, declared_limit(env)
        self._plain = reading.is_plain(env.single_observation_space)
        self.num_envs = env.num_envs
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space

    def reset(self, seeds: Sequence[int | None], mask: np.ndarray,
              options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """As `Rows.reset`."""
        found = self._called("reset", seed=list(seeds), options={"reset_mask": mask, **options})
        if not isinstance(found, tuple) or len(found) != 2:
            raise RowFault(None, "reset() of a vector environment returned no (observation, info)")
        return self._read(found[0]), self._info(found[1])

    def step(self, actions: Sequence[Any] | np.ndarray) -> tuple[Any, ...]:
        """As `Rows.step`."""
        if not isinstance(actions, np.ndarray):
            empty: Any = create_empty_array(self.single_action_space, self.num_envs)
            found = self._called("step", concatenate(self.single_action_space, actions, empty))
        else:
            found = self._called("step", actions)
        if not isinstance(found, tuple) or len(found) != 5:
            raise RowFault(None, "step() of a vector environment returned no (observation, reward, terminated, truncated, "
                                 "info)")
        seen, *columns, info = found
        reward, *flags = (self._column(name, column) for name, column in zip(("reward", "terminated", "truncated"), columns,
                                                                            strict=True))
        return (self._read(seen), reward.astype(np.float64),
                *(flag.astype(bool) for flag in flags), self._info(info))

    def _called(self, method: str, *arguments: Any, **named: Any) -> Any:
        try:
            return getattr(self.env, method)(*arguments, **named)
        except (Exception, SystemExit) as error:
            raise RowFault(None, raised(error, f"{method}()")) from error

    def _read(self, seen: Any) -> Any:
        """Convert observations to arrays (B, …) by port."""
        if self._plain:
            return self._taken(seen, self.single_observation_space)
        rows = [self.reading(row) for row in iterate(self.env.observation_space, seen)]
        return {name: np.stack([row[name] for row in rows]) for name in self.reading.spaces}

    def _taken(self, seen: Any, space: Any, name: str = "observation") -> Any:
        if isinstance(space, gymnasium.spaces.Dict):
            if not isinstance(seen, dict) or not space.spaces.keys() <= seen.keys():
                raise RowFault(None, f"the {name} is not a dict with the keys {', '.join(space.spaces)}, as its space "
                                     "declares")
            return {key: self._taken(seen[key], inner, f"{name}['{key}']") for key, inner in space.spaces.items()}
        found = np.array(seen)
        if space.shape is not None and found.shape != (self.num_envs, *space.shape):
            raise RowFault(None, f"the {name} has the shape {found.shape}: expected {(self.num_envs, *space.shape)}, as its "
                                 "space declares")
        return found

    def _column(self, name: str, column: Any) -> np.ndarray:
        found = np.array(column)
        if found.shape != (self.num_envs,) or found.dtype.kind not in "biuf":
            raise RowFault(None, f"{name} has the shape {found.shape} and the dtype {found.dtype}: expected {self.num_envs} "
                                 "numbers")
        return found

    def _info(self, info: Any) -> dict[str, Any]:
        if not isinstance(info, dict):
            raise RowFault(None, f"info is a {type(info).__name__}: expected a dict")
        known = {name: np.array(info[name]) for name in ("state", "action_mask") if name in info}
        name = next((name for name in SUCCESS if name in info), None)
        return known if name is None else known | {"success": self._column(f"info['{name}']", info[name]).astype(bool)}

    @property
    def drawing(self) -> Any:
        """The environment that draws all rows."""
        return self.env

    @property
    def pair_sampler(self) -> Callable[..., Any] | None:
        """The environment's own `sample_pairs`."""
        return getattr(self.env.unwrapped, "sample_pairs", None)

    def render(self) -> tuple[Any, ...]:
        """As `Rows.render`."""
        return tuple(self.env.render())

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()


def declared_limit(env: Any) -> int | None:
    """Return an environment's own step limit, from its registration or an attribute; None if it declares none."""
    spec = getattr(env, "spec", None)
    found = [getattr(spec, "max_episode_steps", None), *(getattr(env.unwrapped, name, None) for name in LIMITS)]
    return next((int(limit) for limit in found if isinstance(limit, (int, np.integer)) and limit > 0), None)
