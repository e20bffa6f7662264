"""Loaded agents: a saved agent as a function from observations to actions, for the user's own gymnasium loop.

    agent = ami.load("runs/first")
    env = agent.make_env()                # or your own, with the same spaces
    observation, info = env.reset()
    ...
    observation, reward, terminated, truncated, info = env.step(agent.act(observation))

The whole agent runs in this process. Only the environment inside its world node is replaced, by a stand-in that returns the
observation given to `act`. All conversions of spaces and all checks are thus those of its training.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode, World
from ami.config.instantiate import specs_of
from ami.envs.data_world import DataWorld
from ami.envs.make import fitted
from ami.envs.spaces import MASK
from ami.envs.vector import Rows
from ami.envs.world import GymWorld
from ami.errors import SettingError, require
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.runtime.local import LocalRuntime
from ami.saved.export import SavedAgent

GOALS = ("goal", "desired_goal")
"""The keys of the goal in an environment's observation."""


class StandIn(gymnasium.Env):
    """An environment that returns given values and stores the action it receives.

    Attributes:
        observation, reward, info: returned by the next reset or step.
        action: the action of the last step.
    """

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space, observation: Any,
                 info: Mapping[str, Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.observation = observation
        self.reward, self.action = 0.0, None
        self.info = info

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return the given observation."""
        return self.observation, dict(self.info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the given observation; the episode continues until `LoadedAgent.reset`."""
        self.action = action
        return self.observation, self.reward, False, False, dict(self.info)


class GivenWorld(GymWorld):
    """A world node over stand-ins, with the settings of `GymWorld`; the real environment is made once, for its spaces."""

    def _make(self, num_envs: int) -> Rows:
        if not hasattr(self, "spaces"):
            env = self.make_env()
            self.spaces = env.observation_space, env.action_space
            seen, info = env.reset(seed=0)
            self._first = seen, {name: info[name] for name in (MASK,) if name in info}  # decides the world's ports
            env.close()
        self.stand_ins = [StandIn(*self.spaces, *self._first) for _ in range(num_envs)]
        fit = [fitted(stand_in, self.env_id, self._chosen) for stand_in in self.stand_ins]
        return Rows([env for env, _ in fit], fit[0][1])

    def give(self, observations: Sequence[Any], rewards: Sequence[float], infos: Sequence[Mapping[str, Any]]) -> None:
        """Set what each row's stand-in returns next."""
        for stand_in, *given in zip(self.stand_ins, observations, rewards, infos, strict=True):
            stand_in.observation, stand_in.reward, stand_in.info = given

    def received(self, action: Tensor) -> list[Any]:
        """Convert actions (B, A) to actions of the environments."""
        self._stepped(action.numpy())
        return [stand_in.action for stand_in in self.stand_ins]


class GivenDataWorld(GivenWorld, DataWorld):
    """A world node over stand-ins, with the spaces of the file that the agent learnt from."""

    step = GymWorld.step


class LoadedAgent:
    """A saved agent that acts in the user's own loop.

    Args:
        saved: the agent.
        allow: prefixes of your own packages that its classes may come from.
        seed: the seed of its random streams; None takes its run's.

    Attributes:
        graph: its graph.
        repeat: the number of environment steps per action: the `world.repeat` of its training.

    Raises:
        GraphError, TrustError, UnknownName, SettingError: its configuration is not valid here.
        CheckpointError: its weights do not fit.
    """

    def __init__(self, saved: SavedAgent, allow: Sequence[str] = (), seed: int | None = None) -> None:
        parts = specs_of(saved.config, allow)
        worlds = {node: part.target for node, part in parts.items() if isinstance(part.target, type)
                  and issubclass(part.target, World)}
        require(len(worlds) == 1 and all(issubclass(world, GymWorld) for world in worlds.values()),
                f"the worlds of {saved.file} are {', '.join(worlds) or 'none'}: expected one gymnasium world, which your "
                "loop replaces. Fix: `ami run --from` runs it in its own world")
        (node,) = worlds
        parts[node] = ModuleSpec(GivenDataWorld if issubclass(worlds[node], DataWorld) else GivenWorld, parts[node].settings)
        self.graph = Graph(parts, saved.config["graph"])
        source = next((wire for wire in self.graph.inputs[node] if wire.to_port == "action" and not wire.cut), None)
        if source is None:
            raise SettingError(f"nothing is wired to {node}.action in {saved.file}: expected an agent that acts")
        self._action = f"{source.node}.{source.port}"
        runtime = LocalRuntime(self.graph, int(saved.config["seed"]) if seed is None else seed, saved.weights(),
                               watch=(self._action,))
        self._agent = Agent(runtime)
        self._world: GivenWorld = runtime.worker.modules[node]  # type: ignore[assignment]
        self._taker: GivenWorld = parts[node].make()
        self.observation_space, self.action_space = self._world.spaces
        self.repeat, self._world.repeat, self._taker.repeat = self._world.repeat, 1, 1
        self._begun = itertools.count()
        self._episodes: list[Episode] = []
        self._fresh: np.ndarray | None = None

    def make_env(self) -> gymnasium.Env:
        """Make the environment that the agent was trained in, with the configured wrappers.

        Raises:
            SettingError: it cannot be made here.
        """
        return self._world.make_env()

    def reset(self, rows: Any = None) -> None:
        """Start new episodes with the next observation.

        Args:
            rows: mask (B,) of the rows to reset; None resets all of them, and B may change.

        Raises:
            SettingError: the mask is not one flag per row.
        """
        if rows is None:
            self._episodes, self._fresh = [], None
            return
        mask = np.asarray(rows, bool)
        require(mask.shape == (len(self._episodes),),
                f"reset got rows of the shape {mask.shape}: expected one flag for each of {len(self._episodes)} episodes")
        self._fresh = mask if self._fresh is None else mask | self._fresh

    def act(self, observation: Any, goal: Any = None, *, reward: Any = 0.0, info: Any = None) -> Any:
        """Choose the action for one observation or a batch of them.

        Args:
            observation: the environment's observation, in its own space, or a batch of B. In a goal environment: the mapping
                it returns, or only its observation together with `goal`.
            goal: the goal, in the space of the environment's goal; replaces the goal in `observation`.
            reward: the last reward, or (B,); read by a cost of the world's reward.
            info: the environment's info, or a list of B; read for action masks.

        Returns:
            An action in the environment's action space; for a batch, (B, …).

        Raises:
            SettingError: the observation or goal has another shape; B changed without `reset`.
            WorldFault: a number is not finite, or of another dtype than the space's.
        """
        seen = self._with_goal(observation, goal)
        single = self._is_single(seen)
        rows = [seen] if single else _rows(seen)
        require(len(self._episodes) in (0, len(rows)),
                f"act got {len(rows)} observation{'s' * (len(rows) != 1)} while {len(self._episodes)} episodes are running. "
                "Fix: agent.reset() before another number of rows")
        infos = [info or {}] if single or isinstance(info, Mapping) else [{}] * len(rows) if info is None else list(info)
        require(len(infos) == len(rows), f"act got {len(infos)} infos for {len(rows)} observations: expected one for each")
        self._begin(len(rows))
        self._world.give(rows, np.broadcast_to(np.asarray(reward, np.float64), len(rows)).tolist(), infos)
        actions = self._world_actions(self._agent.cycle()[self._action])
        return actions[0] if single else np.stack(actions) if isinstance(actions[0], (np.ndarray, np.generic)) else actions

    def _begin(self, batch: int) -> None:
        """Start the episodes that begin with this observation."""
        mask = np.ones(batch, bool) if not self._episodes else self._fresh
        if mask is None or not mask.any():
            return
        old = self._episodes or [Episode(-1, 0)] * batch
        self._episodes = [self._next() if new else before for new, before in zip(mask, old, strict=True)]
        self._agent.reset(torch.from_numpy(mask.copy()), self._episodes)
        self._fresh = None

    def _next(self) -> Episode:
        number = next(self._begun)
        return Episode(number, seed=number)

    def _world_actions(self, action: Tensor) -> list[Any]:
        """Convert actions (B, A) to the environment's action space."""
        batch = len(action)
        if self._taker.batch != batch:
            self._taker.begin(torch.ones(batch, dtype=torch.bool), [Episode(0, seed=0)] * batch)
            self._taker.step(torch.zeros_like(action))
        return self._taker.received(action)

    def _with_goal(self, observation: Any, goal: Any) -> Any:
        """Return the observation in the environment's space, in numpy, with the given goal."""
        space = self.observation_space
        if not isinstance(space, gymnasium.spaces.Dict):
            require(goal is None, f"act got a goal, but {self._world.env_id} has none: its observations are {space}. "
                                  "Fix: leave the goal out")
            return observation if _is_nested(space) else np.asarray(observation)
        name = next((key for key in GOALS if key in space.spaces), None)
        require(goal is None or name is not None,
                f"act got a goal, but {self._world.env_id} has none: its observations hold {', '.join(space.spaces)}. "
                "Fix: leave the goal out")
        given = dict(observation) if isinstance(observation, Mapping) else {"observation": observation}
        if goal is not None:
            given[str(name)] = goal
        if name is not None and "achieved_goal" in space.spaces:
            given.setdefault("achieved_goal", given.get(name))
        missing = [key for key in space.spaces if key not in given]
        require(not missing, f"act got an observation without {', '.join(map(repr, missing))}: {self._world.env_id} shows "
                             f"{', '.join(space.spaces)}. Fix: pass what the environment returned"
                             f"{', or goal=…' if name in missing else ''}")
        return {key: given[key] if _is_nested(inner) else np.asarray(given[key]) for key, inner in space.spaces.items()}

    def _is_single(self, seen: Any) -> bool:
        """Return whether it is one observation, not a batch."""
        space, value, where = self.observation_space, seen, "observation"
        if isinstance(space, gymnasium.spaces.Dict):
            where, space = next(((key, inner) for key, inner in space.spaces.items() if inner.shape is not None),
                                next(iter(space.spaces.items())))
            value = seen[where]
        if space.shape is None:  # a Tuple or a Text
            return not isinstance(value, list)
        shape = np.shape(value)
        require(shape[shape != space.shape:] == space.shape,
                f"act got {where} of the shape {shape}: expected {space.shape}, or "
                f"({', '.join(map(str, ('B', *space.shape)))}) for a batch")
        return bool(shape == space.shape)


def load(where: str | Path, *, allow: Sequence[str] = (), seed: int | None = None) -> LoadedAgent:
    """Open an agent that acts in a gymnasium loop.

    Args:
        where: the folder of a run or an export, an `agent.safetensors`, or the name of a run in the store.
        allow: prefixes of your own packages that its classes may come from; the file itself cannot extend the allow-list.
        seed: the seed of its random streams; None takes its run's.

    Raises:
        CheckpointError: there is no such agent, or its file is broken; further errors are those of `LoadedAgent`.
    """
    return LoadedAgent(SavedAgent.open(where), [allow] if isinstance(allow, str) else allow, seed)


def _is_nested(space: gymnasium.Space) -> bool:
    """Return whether values of the space are not single arrays."""
    return space.shape is None


def _rows(seen: Any) -> list[Any]:
    """Split a batch into a list of observations."""
    if isinstance(seen, Mapping):
        return [dict(zip(seen, values, strict=True)) for values in zip(*seen.values(), strict=True)]
    return list(seen)
