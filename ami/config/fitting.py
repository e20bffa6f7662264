"""Fitting: the modules that a world needs, for every group that nobody chose.

The default agent wants a goal that a picture shows. In a world of numbers, of rewards or of a few discrete actions, other
choices are its counterpart; what the user, an agent or an experiment chose stays.

    observation   a picture: conv, or pixels where its sides do not suit conv; else vector
    goal          one like the observation: an image of it; else none, and the cost is the world's reward
    action        only discrete choices: categorical; else CEM
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from ami.config.instantiate import specs_of
from ami.envs.world import GymWorld
from ami.errors import AmiError

LARGEST, STEP = 64, 4
"""Sides of pictures that `perception=conv` takes: multiples of 4, up to 64."""


def fitting(config: Mapping[str, Any], chosen: Collection[str], given: Collection[str],
            allow: Sequence[str] = ()) -> list[str]:
    """Overrides that fit the agent to its world, for the groups and settings that nobody chose.

    Args:
        config: the composed configuration, plain values; its world is made, and closed.
        chosen: the groups that the user, an agent or an experiment chose.
        given: the settings that were given, "world_model.rewards".
        allow: more prefixes for the allow-list.

    Returns:
        Only what differs from the default: nothing for a world of pictures with goals and continuous actions, or for one
        that is not gymnasium's or cannot be made.
    """
    try:
        world = specs_of({"world": config["world"]}, allow)["world"].make()
    except AmiError:  # the graph reports it, with its other mistakes
        return []
    if not isinstance(world, GymWorld):
        return []
    try:
        wanted = dict(_wanted(world))
    finally:
        world.rows.close()
    return [f"{key}={value}" for key, value in wanted.items()
            if key not in given and key.split(".")[0] not in chosen]


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
