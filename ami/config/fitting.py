"""Fitting: choose the modules that a world needs, for every group that the user left open.

The default agent expects picture observations, a goal picture and continuous actions. For other worlds, other options are
chosen. Choices of the user, an agent preset or an experiment are kept.

    observation   a picture: conv, or pixels if its sides do not suit conv; else vector
    goal          same shape and dtype as the observation: a goal picture; else none, and the cost is the world's reward
    action        only discrete choices: categorical; else CEM
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from ami.config.instantiate import specs_of
from ami.envs.world import GymWorld
from ami.errors import AmiError

FOLLOWS = {"world_model.rewards": "cost", "world_model.anti_collapse": "perception"}
"""Settings of a module that follow from the choice of another group."""
LARGEST, STEP = 64, 4
"""Picture sides that `perception=conv` accepts: multiples of 4, up to 64."""


def fitting(config: Mapping[str, Any], chosen: Collection[str], given: Collection[str],
            allow: Sequence[str] = ()) -> list[str]:
    """Return overrides that fit the agent to its world, for the groups and settings left open.

    Args:
        config: the composed configuration, plain values; its world is made, and closed.
        chosen: the groups chosen by the user, an agent preset or an experiment.
        given: the settings given by the user, such as "world_model.rewards".
        allow: more prefixes for the allow-list.

    Returns:
        Only differences from the default: empty for a world with pictures, goals and continuous actions, for a world that
        is not a `GymWorld`, and for one that cannot be made.
    """
    try:
        world = specs_of({"world": config["world"]}, allow)["world"].make()
    except AmiError:  # the graph reports it with its other mistakes
        return []
    if not isinstance(world, GymWorld):
        return []
    try:
        wanted = dict(_wanted(world))
    finally:
        world.close()
    return [f"{key}={value}" for key, value in wanted.items() if key not in given and _is_open(key, config, chosen, allow)]


def _is_open(key: str, config: Mapping[str, Any], chosen: Collection[str], allow: Sequence[str]) -> bool:
    """Return whether a group or a setting is left open; a setting also if its module was chosen without it, and takes it."""
    group, _, setting = key.partition(".")
    if key not in FOLLOWS:
        return group not in chosen
    try:
        takes = specs_of({group: config[group]}, allow)[group].takes(setting)
    except AmiError:  # the graph reports it
        return False
    return takes and (group not in chosen or FOLLOWS[key] not in chosen)


def _wanted(world: GymWorld) -> Iterator[tuple[str, str]]:
    sizes = world.infer_dims({})
    observation, goal = (world.outputs[name].dtype for name in ("observation", "goal"))
    seen, shown = (tuple(size) if isinstance(size, tuple) else (size,) for size in (sizes["O"], sizes["G"]))
    is_picture = observation == torch.uint8 and len(seen) == 3
    if not is_picture:
        yield "perception", "vector"
        yield "world_model.anti_collapse", "none"
    elif any(side % STEP or side > LARGEST for side in seen[:2]):
        yield "perception", "pixels"
    rewarded = (seen, observation) != (shown, goal)
    if rewarded:
        yield "goal", "none"
        yield "cost", "reward"
        yield "learning", "rewards"
        yield "world_model.rewards", "true"
    if is_picture == rewarded:  # each recipe is made for the other kind of observation
        yield "learning.stages.model.train", "[perception,world_model]" if is_picture else "[world_model]"
    space = world.inputs["action"].space
    if space is not None and space.is_discrete:
        yield "planner", "categorical"
