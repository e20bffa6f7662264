"""Loaded agents: a saved agent as a function from observations to actions, for a gymnasium loop of one's own.

    agent = ami.load("runs/first")
    env = agent.make_env()                # or your own, with the same spaces
    observation, info = env.reset()
    ...
    observation, reward, terminated, truncated, info = env.step(agent.act(observation))

The whole agent runs, in this process: only the environment at the bottom of its world node is replaced by a stand-in that
returns the observation given to `act`. So every conversion of spaces, and every check, is the one it was trained with.
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
"""What environments call the goal in their observation."""


class StandIn(gymnasium.Env):
    """An environment that returns what it was given, and remembers the action it received.

    Attributes:
        observation, reward, info: what the next reset or step returns.
        action: what the last step received.
    """

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space, observation: Any,
                 info: Mapping[str, Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.observation = observation
        self.reward, self.action = 0.0, None
        self.info = info

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The observation given."""
        return self.observation, dict(self.info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The observation given; the episode goes on until `LoadedAgent.reset`."""
        self.action = action
        return self.observation, self.reward, False, False, dict(self.info)


class GivenWorld(GymWorld):
    """A world node over stand-ins. Takes the settings of `GymWorld`; the environment itself is made once, for its spaces."""

    def _make(self, num_envs: int) -> Rows:
        if not hasattr(self, "spaces"):
            env = self.make_env()
            self.spaces = env.observation_space, env.action_space
            seen, info = env.reset(seed=0)
            self._first = seen, {name: info[name] for name in (MASK,) if name in info}  # which ports the world has
            env.close()
        self.stand_ins = [StandIn(*self.spaces, *self._first) for _ in range(num_envs)]
        fit = [fitted(stand_in, self.env_id, self._chosen) for stand_in in self.stand_ins]
        return Rows([env for env, _ in fit], fit[0][1])

    def give(self, observations: Sequence[Any], rewards: Sequence[float], infos: Sequence[Mapping[str, Any]]) -> None:
        """Give each row what its environment returned."""
        for stand_in, *given in zip(self.stand_ins, observations, rewards, infos, strict=True):
            stand_in.observation, stand_in.reward, stand_in.info = given

    def received(self, action: Tensor) -> list[Any]:
        """Actions (B, A) as the environments receive them."""
        self._stepped(action.numpy())
        return [stand_in.action for stand_in in self.stand_ins]


class LoadedAgent:
    """An agent that acts in somebody else's loop.

    Args:
        saved: the agent.
        allow: prefixes of your own packages that its classes may come from.
        seed: of its random streams; None takes its run's.

    Attributes:
        graph: its graph.
        repeat: how many times each action is to be done in a row: the `world.repeat` it was trained with.

    Raises:
        GraphError, TrustError, UnknownName, SettingError: its configuration is unsound here.
        CheckpointError: its weights do not fit.
    """

    def __init__(self, saved: SavedAgent, allow: Sequence[str] = (), seed: int | None = None) -> None:
        parts = specs_of(saved.config, allow)
        worlds = {node: part.target for node, part in parts.items() if isinstance(part.target, type)
                  and issubclass(part.target, World)}
        require(len(worlds) == 1 and all(issubclass(world, GymWorld) for world in worlds.values()),
                f"the worlds of {saved.file} are {', '.join(worlds) or 'none'}: expected one gymnasium world, whose place "
                "your loop takes. Fix: `ami run --from` runs it in its own")
        (node,) = worlds
        parts[node] = ModuleSpec(GivenWorld, parts[node].settings)
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
        """The environment that the agent was trained in, as gymnasium makes it, with the configured wrappers.

        Raises:
            SettingError: it cannot be made here.
        """
        return self._world.make_env()

    def reset(self, rows: Any = None) -> None:
        """Start new episodes with the next observation.

        Args:
            rows: mask (B,) of the rows whose episode begins anew; None: all of them, and B may change.

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
            observation: what the environment returned, in its own space, or a batch of B. Of an environment with a goal: the
                mapping it returns, or its observation alone beside `goal`.
            goal: what to reach, in the space of the environment's goal; replaces the goal in `observation`.
            reward: the last reward, or (B,): what a cost of the world's reward reads.
            info: the environment's info, or a list of B: where it keeps action masks.

        Returns:
            An action in the environment's action space; of a batch, (B, …).

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
        """Actions (B, A) in the environment's action space."""
        batch = len(action)
        if self._taker.batch != batch:
            self._taker.assign(torch.ones(batch, dtype=torch.bool), [Episode(0, seed=0)] * batch)
            self._taker.begin(torch.ones(batch, dtype=torch.bool), [0] * batch)
            self._taker.step(torch.zeros_like(action))
        return self._taker.received(action)

    def _with_goal(self, observation: Any, goal: Any) -> Any:
        """The observation as the environment returns it, in numpy, with this goal in it."""
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
        """Whether it is one observation, not a batch."""
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
        allow: prefixes of your own packages that its classes may come from: a file is not asked whom to trust.
        seed: of its random streams; None takes its run's.

    Raises:
        CheckpointError: there is no agent, or its file is broken; further errors are those of `LoadedAgent`.
    """
    return LoadedAgent(SavedAgent.open(where), [allow] if isinstance(allow, str) else allow, seed)


def _is_nested(space: gymnasium.Space) -> bool:
    """Whether its values are not one array."""
    return space.shape is None


def _rows(seen: Any) -> list[Any]:
    """A batch as a list of observations."""
    if isinstance(seen, Mapping):
        return [dict(zip(seen, values, strict=True)) for values in zip(*seen.values(), strict=True)]
    return list(seen)
