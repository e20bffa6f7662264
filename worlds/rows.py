"""B environments side by side whose rows are independent: seeds, partial resets, and one row as an environment of its own.

There is no autoreset: a finished row stays as it is until it is reset, so that an agent sees the end of its episode.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding

from worlds.refusals import Array, check_reset_mask, check_seeds

Observation = dict[str, Array]
Info = dict[str, Any]
Options = dict[str, Any] | None
MASK = "reset_mask"


class Rows(gymnasium.vector.VectorEnv):
    """The bookkeeping of B rows.

    Attributes:
        generators: one per row, from its first reset on.
    """

    generators: list[np.random.Generator | None]
    pair_kinds: tuple[str, ...] = ()

    def prepare_rows(self, num_envs: int) -> None:
        """Set B, before the first reset."""
        self.num_envs = num_envs
        self.generators = [None] * num_envs
        self._started = np.zeros(num_envs, bool)

    def rows_to_reset(self, mask: Any, seed: int | Sequence[int | None] | None) -> list[int]:
        """Return the numbers of the masked rows, seeded: int s seeds row i with s + i; a sequence holds one seed per row;
        with None a row's generator continues. All rows without a mask."""
        chosen = check_reset_mask(np.ones(self.num_envs, bool) if mask is None else mask, self.num_envs)
        self.need_reset("a reset of some rows only", self._started | chosen)
        rows: list[int] = np.flatnonzero(chosen).tolist()
        seeds = check_seeds(seed, self.num_envs)
        for row in rows:
            if seeds[row] is not None or self.generators[row] is None:
                self.generators[row] = seeding.np_random(seeds[row])[0]
        return rows

    def generator(self, row: int) -> np.random.Generator:
        """Return the generator of a row that was reset."""
        found = self.generators[row]
        assert found is not None
        return found

    def need_reset(self, what: str, started: Array | None = None) -> None:
        """Refuse what comes before the first reset of a row; `started` (B,) are those that were reset."""
        started = self._started if started is None else started
        if not started.all():
            raise ResetNeeded(f"{what} came before rows {np.flatnonzero(~started).tolist()} were ever reset; call reset() "
                              "first.")

    def with_masks(self, info: Info) -> Info:
        """Return an info with gymnasium's masks: every key holds for every row."""
        return info | {f"_{key}": np.ones(self.num_envs, bool) for key in info}

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """Return `num_pairs` evaluation pairs of each kind, as reset options."""
        raise NotImplementedError


class EpisodeRows(Rows):
    """Rows whose reset takes all options of an episode, or draws them: plain numbers by name, which JSON keeps exactly."""

    def prepare_options(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Allocate the options of every row; `shapes` are those of one row."""
        self._options = {name: np.zeros((self.num_envs, *shape)) for name, shape in shapes.items()}

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Start an episode in the rows of `reset_mask` (all by default); the others are unchanged.

        seed: as in `Rows.rows_to_reset`. options: "reset_mask" (B,) bool; and either none or all options of an episode, with
        a leading size B, of which the masked rows are used.
        """
        given = {name: value for name, value in (options or {}).items() if value is not None}
        rows = self.rows_to_reset(given.pop(MASK, None), seed)
        if given:
            chosen = {name: values[rows] for name, values in self._checked(given).items()}
            self._check_episodes(chosen)
        else:
            drawn = [self._drawn(row) for row in rows]
            chosen = {name: np.asarray([one[name] for one in drawn], np.float64).reshape(len(rows), *values.shape[1:])
                      for name, values in self._options.items()}
        for name, values in chosen.items():
            self._options[name][rows] = values
        self._begin(np.asarray(rows, np.int64))
        self._started[rows] = True
        return self._observation(), self._info()

    def _checked(self, options: dict[str, Any]) -> dict[str, Array]:
        """Return given options as arrays (B, …)."""
        raise NotImplementedError

    def _check_episodes(self, options: dict[str, Array]) -> None:
        """Refuse options (N, …) that are no possible episode."""
        raise NotImplementedError

    def _drawn(self, row: int) -> dict[str, Any]:
        """Draw an episode by a row's generator."""
        raise NotImplementedError

    def _begin(self, rows: Array) -> None:
        """Start the episodes whose options were written to `rows` (N,)."""
        raise NotImplementedError

    def _observation(self) -> Observation:
        raise NotImplementedError

    def _info(self) -> Info:
        raise NotImplementedError


class FirstRow(gymnasium.Env):
    """The first row of a vector environment as an environment, so that both agree; options have no row axis."""

    def take(self, rows: Rows) -> None:
        """Set the vector environment of one row."""
        self._rows = rows
        self.metadata = {name: value for name, value in rows.metadata.items() if name != "autoreset_mode"}
        self.observation_space, self.action_space = rows.single_observation_space, rows.single_action_space
        self.render_mode = rows.render_mode

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Start an episode."""
        super().reset(seed=seed)
        # the row draws from this environment's gymnasium generator, `np_random`
        self._rows.generators[0] = self.np_random
        observation, info = self._rows.reset(options=_one_row(options or {}))
        return _first_row(observation), _first_row(info)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Apply an action."""
        batched = _one_row(action) if isinstance(action, dict) else np.asarray(action)[None]
        observation, reward, terminated, truncated, info = self._rows.step(batched)
        return _first_row(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first_row(info)

    def render(self) -> Array | None:
        """Return the picture of the world, uint8, or None without a render mode."""
        frames: Any = self._rows.render()
        return None if frames is None else frames[0]

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """Return `num_pairs` evaluation pairs of each kind, as reset options."""
        return self._rows.sample_pairs(seed, num_pairs)


def _one_row(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value is None else np.asarray(value)[None] for name, value in values.items()}


def _first_row(batch: dict[str, Any]) -> dict[str, Any]:
    """Return row 0 without gymnasium's masks."""
    return {key: value[0] for key, value in batch.items() if not key.startswith("_")}
