"""Guard: check the return values of a gymnasium environment against gymnasium's API and its declared spaces, at every call.

Accepted and converted: a reward that is a number of any type, or an array with one entry; a flag that is a bool, 0 or 1; an
observation of the declared shape with another dtype, or as a list. Bounds are not checked, since nothing in ami relies on
those of an observation. Everything else is a `Breach`, which the caller turns into a fault with row and tick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

from ami.graph.faults import place_of

_NEW_API = ("Fix: `return observation, {{}}` from reset() and `return observation, reward, terminated, truncated, info` "
            "from step(); for a package of others, shimmy's GymV21CompatibilityV0")
OLD_RESET = "reset() returned {} alone, as before gymnasium 0.26: expected (observation, info). " + _NEW_API
OLD_STEP = "step() returned {} values, as before gymnasium 0.26: expected 5. " + _NEW_API
RESET_ARGUMENTS = ("reset() does not take gymnasium's arguments ({}): expected reset(self, *, seed=None, options=None). "
                   "Fix: add them, and begin with super().reset(seed=seed)")


class Breach(Exception):
    """A return value that violates the API: what was found, what was expected, the fix."""


class Guard(gymnasium.Wrapper):
    """A wrapper that raises `Breach` if a return value violates gymnasium's API.

    Args:
        env: the environment, with its own wrappers.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self._take = _taker("observation", env.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """`Env.reset`, checked."""
        try:
            found: Any = self.env.reset(seed=seed, options=options)
        except TypeError as error:
            if "argument 'seed'" in str(error) or "argument 'options'" in str(error):
                raise Breach(RESET_ARGUMENTS.format(error)) from None
            raise
        if not isinstance(found, tuple) or len(found) != 2:
            raise Breach(OLD_RESET.format(_described(found)))
        seen, info = found
        return self._take(seen), _info(info, "reset")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """`Env.step`, checked."""
        try:
            found: Any = self.env.step(action)
        except ValueError as error:
            if "values to unpack (expected 5" in str(error):  # raised inside gymnasium's TimeLimit
                raise Breach(OLD_STEP.format(str(error).rpartition("got ")[2].rstrip(")") or 4)) from None
            raise
        if not isinstance(found, tuple) or len(found) != 5:
            if isinstance(found, tuple) and len(found) == 4:
                raise Breach(OLD_STEP.format(4))
            raise Breach(f"step() returned {_described(found)}: expected (observation, reward, terminated, truncated, info)")
        seen, reward, terminated, truncated, info = found
        return (self._take(seen), reward if type(reward) is float else _number(reward), _flag(terminated, "terminated"),
                _flag(truncated, "truncated"), _info(info, "step"))


def raised(error: BaseException, method: str) -> str:
    """Return the message for an exception of an environment, with the line that raised it."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{method} raised {words}{place_of(error)}. Fix: correct the environment, or give it what it needs"


def success_of(info: dict[str, Any], names: tuple[str, ...]) -> bool:
    """Return an info's success flag under the first of some names that it has; False if it has none.

    Raises:
        Breach: the value is not a flag.
    """
    for name in names:
        if name in info:
            return _flag(info[name], f"info['{name}']")
    return False


def _number(reward: Any) -> float:
    """Convert a reward to a float."""
    found = None if reward is None or isinstance(reward, (str, bytes)) else _array(reward)
    if found is None or found.size != 1:
        raise Breach(f"the reward is {_described(reward)}: expected a number. Fix: return float(reward) from step()")
    return float(found.reshape(()))


def _flag(value: Any, name: str) -> bool:
    if value is True or value is False:
        return bool(value)
    found = None if value is None else _array(value)
    if found is None or found.size != 1 or found.reshape(-1)[0] not in (0, 1):
        raise Breach(f"{name} is {_described(value)}: expected True or False. Fix: return bool({name})")
    return bool(found.reshape(-1)[0])


def _info(info: Any, method: str) -> dict[str, Any]:
    if not isinstance(info, dict):
        raise Breach(f"{method}() returned the info {_described(info)}: expected a dict. Fix: return {{}} if it is "
                     "empty")
    return info


# Observations, by the space that declares them ------------------------------------------------------------------------

Take = Callable[[Any], Any]


def _taker(name: str, space: Space) -> Take:
    """Return a function that converts a value to its declared space, or raises Breach."""
    if isinstance(space, Dict):
        return _dict_taker(name, {key: _taker(f"{name}['{key}']", inner) for key, inner in space.spaces.items()})
    if isinstance(space, Tuple):
        return _tuple_taker(name, [_taker(f"{name}[{i}]", inner) for i, inner in enumerate(space.spaces)])
    if isinstance(space, Discrete):
        return _counted_taker(name, np.asarray(space.start), np.asarray(space.start + space.n), space)
    if isinstance(space, MultiDiscrete):
        return _counted_taker(name, np.asarray(space.start), np.asarray(space.start + space.nvec), space)
    if isinstance(space, MultiBinary):
        return _counted_taker(name, np.zeros(space.shape, int), np.full(space.shape, 2), space)
    return _box_taker(name, space) if isinstance(space, Box) else lambda value: value


def _box_taker(name: str, space: Box) -> Take:
    shape, dtype = space.shape, space.dtype

    def take(value: Any) -> np.ndarray:
        if type(value) is np.ndarray and value.dtype == dtype and value.shape == shape:
            return value
        found = _array(value)
        if found is None:
            raise Breach(f"the {name} is {_described(value)}: expected {dtype} numbers of shape {shape}, as its space "
                         "declares")
        if found.shape != shape:
            raise Breach(f"the {name} has the shape {found.shape}: expected {shape}, as its space declares. Fix: declare "
                         "the returned shape, or return the declared one")
        if np.issubdtype(dtype, np.integer) and not _fits(found, dtype):
            raise Breach(f"the {name} is {found.dtype} with values from {found.min():.4g} to {found.max():.4g}: expected "
                         f"{dtype}, as its space declares, to which these cannot be cast without loss. Fix: return it, "
                         f"or declare Box(low, high, {shape}, np.{found.dtype})")
        return found.astype(dtype)

    return take


def _counted_taker(name: str, low: np.ndarray, high: np.ndarray, space: Space) -> Take:
    def take(value: Any) -> Any:
        found = _array(value)
        if found is None or found.shape != low.shape or not _fits(found, np.dtype(np.int64)) or bool(
                ((found < low) | (found >= high)).any()):
            raise Breach(f"the {name} is {_described(value)}: expected an element of {space}, as its space declares")
        return value

    return take


def _dict_taker(name: str, takers: dict[str, Take]) -> Take:
    def take(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or not takers.keys() <= value.keys():
            found = f"has the keys {', '.join(map(str, value))}" if isinstance(value, dict) else f"is {_described(value)}"
            raise Breach(f"the {name} {found}: expected a dict with the keys {', '.join(takers)}, as its space declares")
        return {key: inner(value[key]) for key, inner in takers.items()}

    return take


def _tuple_taker(name: str, takers: list[Take]) -> Take:
    def take(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (tuple, list)) or len(value) != len(takers):
            raise Breach(f"the {name} is {_described(value)}: expected a tuple of {len(takers)}, as its space declares")
        return tuple(inner(one) for inner, one in zip(takers, value, strict=True))

    return take


def _array(value: Any) -> np.ndarray | None:
    """Return a value as an array of numbers; None if it is not numeric."""
    try:
        found = np.asarray(value)
    except (ValueError, TypeError):  # ragged lists, and objects without an array form
        return None
    return found if found.dtype.kind in "biuf" else None


def _fits(found: np.ndarray, dtype: np.dtype) -> bool:
    """Return whether numbers can be cast to an integer dtype without loss."""
    if found.dtype == dtype or found.size == 0:
        return True
    limits = np.iinfo(dtype)
    return bool((np.floor(found) == found).all()) and limits.min <= found.min() and found.max() <= limits.max


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})" if value is not None else "None"
