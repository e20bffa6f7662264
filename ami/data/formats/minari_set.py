"""Minari: a data set of the Farama Foundation's standard, in the folder that `minari` made. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ami.data.names import fields_of
from ami.data.recording import ActionCode, Recording
from ami.data.replay_buffer import OBSERVATION
from ami.errors import DataError
from ami.terminal.extras import how_to_install


def fits(path: Path) -> bool:
    """Return whether a folder is a Minari data set, or its folder `data`."""
    return any((path / inner / "metadata.json").is_file() for inner in ("", "data"))


def read(path: Path, chosen: Mapping[str, str]) -> Iterator[Recording]:
    """Yield the episodes of a data set."""
    for episode in _opened(path).iterate_episodes():
        arrays = {**_flat(episode.observations, OBSERVATION), **_flat(episode.actions, "action"),
                  "rewards": episode.rewards, "terminations": episode.terminations, "truncations": episode.truncations}
        keys = [name for name in arrays if name.startswith(f"{OBSERVATION}/")]
        named = [name for name in keys if name.rpartition("/")[2] in ("observation", "image", "pixels")] or keys[:1]
        own = {field: f"{field}/{name}" if f"{field}/{name}" in arrays else name for field, name in chosen.items()}
        if keys and len(named) != len(keys) and OBSERVATION not in own and len(keys) > 1 and named == keys[:1]:
            own[OBSERVATION] = OBSERVATION  # none of several keys is obvious: name them all
        elif keys:
            own.setdefault(OBSERVATION, named[0])
        names = fields_of(path, arrays, own)
        yield Recording(f"episode_{episode.id}", {field: np.asarray(arrays[name]) for field, name in names.items()})


def code_of(path: Path) -> ActionCode:
    """Return how the data set writes actions.

    Raises:
        DataError: its action space is neither a bounded Box nor Discrete.
    """
    from gymnasium.spaces import Box, Discrete

    space = _opened(path).action_space
    if isinstance(space, Discrete):
        return ActionCode(choices=int(space.n), start=int(space.start))
    if isinstance(space, Box) and np.isfinite(space.low).all() and np.isfinite(space.high).all():
        return ActionCode(space.low, space.high)
    raise DataError(f"'{path}' has the action space {space}: expected a Box with finite bounds, or Discrete")


def _opened(path: Path) -> Any:
    try:
        from minari.dataset.minari_dataset import MinariDataset
    except ImportError:
        raise DataError(f"'{path}' needs minari, which is not installed. Fix: {how_to_install('data')}") from None
    folder = path if (path / "metadata.json").is_file() else path / "data"
    try:
        return MinariDataset(folder)
    except Exception as error:
        raise DataError(f"'{path}' cannot be read by minari: {' '.join(str(error).split())[:200]}. Fix: make it again with "
                        "this version of minari") from error


def _flat(values: Any, name: str) -> dict[str, Any]:
    """Return the arrays of a Dict space as `name/key`, those of another space under the name."""
    if not isinstance(values, dict):
        return {name: values}
    found: dict[str, Any] = {}
    for key, inner in values.items():
        found |= _flat(inner, f"{name}/{key}")
    return found
