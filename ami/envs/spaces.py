"""Spaces: what a gymnasium environment shows and takes, brought into the form of a mind.

A mind sees a box, or a box and another one as its goal, and acts in [-1, 1] or takes one of a few choices. Gymnasium's own
wrappers bring other spaces into that form:

    observation Box                              as it is
    Discrete, MultiBinary, MultiDiscrete, Tuple  flattened to a vector
    Dict with "observation" and "goal"           both, each flattened where it is no box
    Dict with "observation" and "desired_goal"   the second is the goal; "achieved_goal" is left out
    any other Dict                               flattened; a single box in it is taken as it is. Texts and what else has no
                                                 numbers, such as MiniGrid's mission, is left out
    action Box                                   rescaled from [-1, 1] to its bounds, which must be finite
    Discrete                                     the taken one of n choices
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space, Text
from gymnasium.spaces.utils import flatten, flatten_space
from gymnasium.wrappers import FilterObservation, FlattenObservation, TransformObservation

from ami.errors import SettingError, require


def rescaled(env: Any, env_id: str, space: Any, wrapper: Callable[..., Any]) -> Any:
    """An environment whose actions lie in [-1, 1], or are choices.

    Raises:
        SettingError: the action space cannot be driven.
    """
    if isinstance(space, Discrete):
        return env
    fix = "Fix: a wrapper of your own, world.wrappers=[package.file.Class], that turns actions into one of these"
    require(isinstance(space, Box) and np.issubdtype(space.dtype, np.floating),
            f"{env_id} has the action space {space}: expected a Box of real numbers or a Discrete. {fix}")
    require(bool(np.isfinite(space.low).all() and np.isfinite(space.high).all()),
            f"{env_id} has the action space {space}, which is unbounded: expected finite bounds, to which actions in "
            f"[-1, 1] are rescaled. {fix}")
    whole = (space.low == -1).all() and (space.high == 1).all()
    return env if whole else wrapper(env, np.full(space.shape, -1, space.dtype), np.full(space.shape, 1, space.dtype))


def fit_observation(env: Any, env_id: str) -> Any:
    """The environment with observations in the form that a mind sees."""
    space = env.observation_space
    if isinstance(space, Box):
        return env
    if not isinstance(space, Dict):
        return FlattenObservation(env) if _has_numbers(space) else _refuse(env_id, space)
    goal = next((name for name in ("goal", "desired_goal") if name in space.spaces), None)
    if goal is not None and "observation" in space.spaces:
        return _with_goal(env, env_id, space, goal)
    kept = [name for name, inner in space.spaces.items() if _has_numbers(inner)]
    if not kept:
        return _refuse(env_id, space)
    if len(kept) == 1 and isinstance(space[kept[0]], Box):
        return TransformObservation(env, itemgetter(kept[0]), space[kept[0]])
    return FlattenObservation(env if len(kept) == len(space.spaces) else FilterObservation(env, kept))


def _with_goal(env: Any, env_id: str, space: Dict, goal: str) -> Any:
    parts = {"observation": space["observation"], "goal": space[goal]}
    for part in parts.values():
        if not _has_numbers(part):
            _refuse(env_id, part)
    boxes = Dict({name: part if isinstance(part, Box) else flatten_space(part) for name, part in parts.items()})

    def show(seen: Mapping[str, Any]) -> dict[str, Any]:
        shown = {"observation": seen["observation"], "goal": seen[goal]}
        return {name: shown[name] if isinstance(part, Box) else flatten(part, shown[name]) for name, part in parts.items()}

    return TransformObservation(env, show, boxes)


def _has_numbers(space: Space) -> bool:
    """Whether it flattens to a vector that means something: a text's letters are numbers and say nothing."""
    inner = space.spaces.values() if isinstance(space, Dict) else getattr(space, "spaces", ())
    try:
        return space.is_np_flattenable and not isinstance(space, Text) and all(map(_has_numbers, inner))
    except NotImplementedError:  # spaces of other packages need not know
        return False


def _refuse(env_id: str, space: Space) -> Any:
    raise SettingError(f"{env_id} has the observation space {space}, which is no vector of numbers: expected a Box, a "
                       "Discrete or a Dict of them. Fix: a wrapper of your own, world.wrappers=[package.file.Class]")
