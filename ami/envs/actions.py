"""Action codec: a gymnasium action space as one vector of numbers in [-1, 1] and one-hot choices, and back.

    Box, floating dtype      per entry one number in [-1, 1], scaled to its bounds, which must be finite
    Box, integer dtype       per entry one choice if it has at most 32 values, else a number in [-1, 1], scaled and rounded
    Discrete, with `start`   one choice
    MultiDiscrete            per entry one choice
    MultiBinary              per entry one choice of two: 0 or 1
    Tuple, Dict              all of their parts, in their order

A key `mode` of a Dict is not part of the vector: it is an input of the world, the agent's mode (1 to react, 2 to plan), for
environments in which planning has a price. Its space is Discrete(2, start=1).

The vector begins with the numbers of all parts; the one-hot blocks of the choices follow (`ami.actions.ActionSpace`).

Shapes: B parallel worlds, A action width, n numbers, C choices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

from ami.actions import ActionSpace
from ami.envs.guard import Breach
from ami.errors import SettingError, require

MODE, MODES = "mode", Discrete(2, start=1)
MOST_VALUES = 32
"""The largest number of values for which an integer entry is a choice."""
FIX = "Fix: a wrapper of your own, world.wrappers=[package.file.Class], that turns actions into one of these"


class ActionCodec:
    """Converts action vectors to an environment's actions, and its action masks to masks of the vectors.

    Args:
        space: the environment's action space.
        env_id: the environment's name in errors.

    Attributes:
        actions: the layout of an action vector.
        receives_mode: whether the environment's actions contain the agent's mode.

    Raises:
        SettingError: the space is not supported.
    """

    def __init__(self, space: Space, env_id: str) -> None:
        self.receives_mode = isinstance(space, Dict) and MODE in space.spaces
        if isinstance(space, Dict) and self.receives_mode:
            require(space[MODE] == MODES, f"{env_id} has actions with the key '{MODE}', {space[MODE]}: expected {MODES}, "
                                          "the agent's mode. Fix: another name, or this space")
            space = Dict({name: part for name, part in space.spaces.items() if name != MODE})
        self.space, self.env_id = space, env_id
        parts = list(_elementary(space, space, env_id))
        choices = tuple(count for part in parts for count in _choices(part))
        self.actions = ActionSpace(sum(_numbers(part) for part in parts), choices)
        self._edges = np.cumsum([self.actions.numbers, *choices])

    def decode(self, actions: np.ndarray, mode: np.ndarray | None = None) -> Any:
        """Convert action vectors (B, A) to actions of the environment, one per row: an array (B, …) or a list.

        Modes (B,) are added if the environment receives them; None, or a mode before the first one, is 1.
        """
        taken = self._decoded(actions)
        if not self.receives_mode:
            return taken
        modes = np.ones(len(actions), np.int64) if mode is None else np.maximum(mode, 1)
        return [{**one, MODE: np.int64(sent)} for one, sent in zip(taken, modes, strict=True)]

    def _decoded(self, actions: np.ndarray) -> Any:
        numbers = np.clip(actions[:, :self.actions.numbers], -1.0, 1.0)
        if _is_plain(self.space):
            return numbers.reshape(len(actions), *self.space.shape).astype(self.space.dtype)  # type: ignore[misc]
        chosen = np.zeros((len(actions), len(self.actions.choices)), np.int64)
        for number, (low, high) in enumerate(zip(self._edges[:-1], self._edges[1:], strict=True)):
            chosen[:, number] = actions[:, low:high].argmax(-1)
        if isinstance(self.space, Discrete):
            return chosen[:, 0] + self.space.start
        return [_built(self.space, iter(numbers[row]), iter(chosen[row])) for row in range(len(actions))]

    def flags(self, given: Any) -> np.ndarray:
        """Convert an environment's action mask to a mask of action vectors, (A,) bool; numbers are always allowed.

        Args:
            given: one flag per alternative, in the order of the choices: an array, or a tuple or dict of arrays.

        Raises:
            Breach: it has another number of flags.
        """
        flags, expected = _flags(given), sum(self.actions.choices)
        if len(flags) != expected:
            raise Breach(f"action_mask has {len(flags)} flags: expected {expected}, one per alternative of an action, which "
                         f"is {self.actions}. Fix: correct the environment's mask")
        return np.concatenate([np.ones(self.actions.numbers, bool), flags.astype(bool)])

    def allows(self, allowed: np.ndarray) -> bool:
        """Return whether a mask (A,) leaves at least one alternative of every choice."""
        return all(allowed[low:high].any() for low, high in zip(self._edges[:-1], self._edges[1:], strict=True))


def rescaled(env: Any, space: Space, wrapper: Callable[..., Any]) -> Any:
    """Rescale the actions of a floating Box to [-1, 1]; other spaces are left to the codec."""
    if not isinstance(space, Box) or not np.issubdtype(space.dtype, np.floating) or _is_plain(space):
        return env
    return wrapper(env, np.full(space.shape, -1, space.dtype), np.full(space.shape, 1, space.dtype))


def _elementary(space: Space, whole: Space, env_id: str) -> Iterator[Space]:
    """Yield the elementary spaces; refuse those that cannot be encoded as a vector."""
    if isinstance(space, (Tuple, Dict)):
        for part in space.spaces.values() if isinstance(space, Dict) else space.spaces:
            yield from _elementary(part, whole, env_id)
        return
    if not isinstance(space, (Box, Discrete, MultiBinary, MultiDiscrete)):
        raise SettingError(f"{env_id} has the action space {whole}: expected a Box, Discrete, MultiDiscrete, MultiBinary, "
                           f"or a Tuple or Dict of them. {FIX}")
    if isinstance(space, Box):
        require(bool(np.isfinite(space.low).all() and np.isfinite(space.high).all()),
                f"{env_id} has the action space {whole}, which is unbounded: expected finite bounds, to which actions in "
                f"[-1, 1] are rescaled. {FIX}")
    yield space


def _is_plain(space: Space) -> bool:
    """Return whether the space needs no conversion: a floating Box in [-1, 1]."""
    return (isinstance(space, Box) and np.issubdtype(space.dtype, np.floating)
            and bool((space.low == -1).all() and (space.high == 1).all()))


def _has_choices(space: Box) -> bool:
    """Return whether each entry is a choice: an integer Box with few values."""
    return not np.issubdtype(space.dtype, np.floating) and bool(
        (space.high.astype(float) - space.low < MOST_VALUES).all())


def _numbers(part: Space) -> int:
    return int(np.prod(part.shape)) if isinstance(part, Box) and not _has_choices(part) else 0


def _choices(part: Space) -> tuple[int, ...]:
    if isinstance(part, Discrete):
        return (int(part.n),)
    if isinstance(part, MultiDiscrete):
        return tuple(int(count) for count in part.nvec.flatten())
    if isinstance(part, MultiBinary):
        return (2,) * int(np.prod(part.shape))
    if isinstance(part, Box) and _has_choices(part):
        return tuple(int(count) for count in (part.high.astype(np.int64) - part.low.astype(np.int64) + 1).flatten())
    return ()


def _built(space: Space, numbers: Iterator[Any], chosen: Iterator[Any]) -> Any:
    """Build one action of a space from the next numbers and choices."""
    if isinstance(space, Tuple):
        return tuple(_built(part, numbers, chosen) for part in space.spaces)
    if isinstance(space, Dict):
        return {name: _built(part, numbers, chosen) for name, part in space.spaces.items()}
    if isinstance(space, Discrete):
        return np.int64(next(chosen) + space.start)
    shape = space.shape or ()
    count = int(np.prod(shape))
    if isinstance(space, Box):
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        if _has_choices(space):
            return (low + _next(chosen, count, shape)).astype(space.dtype)
        value = low + (high - low) * (_next(numbers, count, shape).astype(np.float64) + 1) / 2
        value = value if np.issubdtype(space.dtype, np.floating) else np.rint(value)
        return np.clip(value, low, high).astype(space.dtype)
    start = space.start if isinstance(space, MultiDiscrete) else 0
    return (_next(chosen, count, shape) + start).astype(space.dtype)


def _next(values: Iterator[Any], count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.array([next(values) for _ in range(count)]).reshape(shape)


def _flags(given: Any) -> np.ndarray:
    if isinstance(given, Mapping):
        given = tuple(given.values())
    if isinstance(given, (tuple, list)) and any(np.ndim(part) or isinstance(part, Mapping) for part in given):
        return np.concatenate([_flags(part) for part in given])
    return np.atleast_1d(np.asarray(given)).flatten()
