"""The file that an agent learns from, in place of episodes that it collects (`learning.data`)."""

from __future__ import annotations

import math

from ami.blueprint import World
from ami.config.compose import Config
from ami.data.read import Data
from ami.data.recording import ActionCode
from ami.data.replay_buffer import ACTION, OBSERVATION
from ami.envs.data_world import DataWorld
from ami.errors import DataError
from ami.graph.graph import Graph
from ami.ports import shape_of
from ami.storage.store import find
from ami.trace.episodes import RunData

MEMORY = 5e8
"""The default of learning.buffer.memory."""


def data_of(config: Config, graph: Graph) -> Data | None:
    """Return the file that a config learns from; None if its agent collects.

    Raises:
        DataError, TraceError: there is no such file, or its first episode does not fit the graph.
    """
    learning, world = config.settings.learning, graph.drafts[graph.the(World)]
    named = learning.get("data")
    if named is None:
        data = world.data if isinstance(world, DataWorld) else None
    elif RunData.fits(find(named, config.settings.store)):
        data = RunData.of(find(named, config.settings.store))
    else:
        actions, space = learning.get("actions") or {}, world.inputs["action"].space
        code = ActionCode(actions.get("low", -1.0), actions.get("high", 1.0), actions.get("choices", 0)) if actions else None
        most = space.choices[0] if space is not None and space.is_discrete and len(space.choices) == 1 else 0
        data = Data.at(find(named, config.settings.store), dict(learning.get("fields") or {}), code, most)
    if data is not None:
        _check_fit(data, graph)
    return data


def memory_of(config: Config) -> float:
    """Return the bytes of experience that a config keeps in memory."""
    return float((config.settings.learning.get("buffer") or {}).get("memory", MEMORY))


def _check_fit(data: Data, graph: Graph) -> None:
    """Refuse data whose observations or actions have other sizes than the graph's."""
    node = graph.the(World)
    first = next(iter(data.episodes()), None)
    if first is None:
        raise DataError(f"'{data.path}' holds no episodes: expected at least one")
    dims, dtype = graph.dims[node], graph.drafts[node].outputs["observation"].dtype
    seen, width = first[OBSERVATION], first[ACTION].shape[1]
    expected = shape_of(dims, "O")
    if tuple(seen.shape[1:]) != expected or (dtype is not None and seen.dtype != dtype):
        raise DataError(f"'{data.path}' has observations {_shown(seen.dtype)} {tuple(seen.shape[1:])}: expected "
                        f"{_shown(dtype)} {expected}, as {node} sends them. Fix: learning.fields={{observation: NAME}}, a "
                        "wrapper of the world, or world=data")
    if math.prod(shape_of(dims, "A")) != width:
        raise DataError(f"'{data.path}' has actions of {width} numbers: expected {math.prod(shape_of(dims, 'A'))}, as {node}"
                        " receives them. Fix: learning.fields={action: NAME}, learning.actions={choices: N}, or world=data")


def _shown(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")
