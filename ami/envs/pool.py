"""Pool: environments are kept while a run lasts, and serve one world after another.

Inside `pooled_environments()`, a closed world leaves its environments here, and the next world with equal settings takes
them: of the same number, or more of them than it needs. Every episode begins with a seeded reset, so its course does not
depend on the episodes before it. Environments with a timeout live in a child process and are not kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ami.envs.vector import Rows, VectorRows


class Pool:
    """Idle environments, by the settings that they were made with."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Rows | VectorRows]] = {}
        self._lock = threading.Lock()

    def take(self, key: str, num_envs: int, make: Callable[[], Any]) -> Any:
        """Return idle environments for B rows, the fewest that suffice; new ones if there are none."""
        with self._lock:
            found = sorted((rows for rows in self._idle.get(key, ()) if rows.num_envs >= num_envs), key=lambda r: r.num_envs)
            # one row alone asks for the ports of a world, which a large set would answer slowly
            if found and (num_envs > 1 or found[0].num_envs == 1):
                self._idle[key].remove(found[0])
                return found[0] if found[0].num_envs == num_envs else _Some(found[0], num_envs)
        return make()

    def give_back(self, key: str, rows: Any) -> None:
        """Keep environments for the next world."""
        with self._lock:
            self._idle.setdefault(key, []).append(rows.whole if isinstance(rows, _Some) else rows)

    def close(self) -> None:
        """Close every idle environment."""
        with self._lock:
            for rows in (rows for idle in self._idle.values() for rows in idle):
                rows.close()
            self._idle = {}


_pools: list[Pool] = []


@contextmanager
def pooled_environments() -> Iterator[None]:
    """Keep environments within the block, and close them at its end. An inner block uses the pool of the outer one."""
    if _pools:
        yield
        return
    _pools.append(Pool())
    try:
        yield
    finally:
        _pools.pop().close()


def pool() -> Pool | None:
    """Return the pool of the current block; None outside of `pooled_environments()`."""
    return _pools[-1] if _pools else None


class _Some:
    """The first B rows of environments that are more than B. The others repeat the first row's episode and actions.

    Args:
        whole: the environments.
        num_envs: B.
    """

    def __init__(self, whole: Rows | VectorRows, num_envs: int) -> None:
        self.whole, self.num_envs = whole, num_envs
        self.reading, self.limit = whole.reading, whole.limit
        self.single_observation_space, self.single_action_space = whole.single_observation_space, whole.single_action_space
        self.drawing, self.pair_sampler = whole.drawing, whole.pair_sampler
        self._rows = Rows(whole.envs[:num_envs], whole.reading, whole.limit) if isinstance(whole, Rows) else None
        self._begun = False

    def reset(self, seeds: Sequence[int | None], mask: np.ndarray,
              options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """As `Rows.reset`."""
        if self._rows is not None:
            return self._rows.reset(seeds, mask, options)
        more = self.whole.num_envs - self.num_envs
        others = np.full(more, not self._begun)
        self._begun = True
        seen, info = self.whole.reset([*seeds, *[seeds[0] if others.any() else None] * more], np.concatenate([mask, others]),
                                      {name: np.concatenate([value, np.repeat(value[:1], more, 0)])
                                       for name, value in options.items()})
        return self._first(seen), self._first(info)

    def step(self, actions: Sequence[Any] | np.ndarray) -> tuple[Any, ...]:
        """As `Rows.step`."""
        if self._rows is not None:
            return self._rows.step(actions)
        more = self.whole.num_envs - self.num_envs
        padded = (np.concatenate([actions, np.repeat(actions[:1], more, 0)]) if isinstance(actions, np.ndarray)
                  else [*actions, *[actions[0]] * more])
        return tuple(map(self._first, self.whole.step(padded)))

    def _first(self, found: Any) -> Any:
        if isinstance(found, dict):
            return {name: self._first(value) for name, value in found.items()}
        return found[:self.num_envs]

    def render(self) -> tuple[Any, ...]:
        """As `Rows.render`."""
        return self.whole.render()[:self.num_envs]

    def close(self) -> None:
        """Close all environments."""
        self.whole.close()
