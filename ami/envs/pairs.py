"""Pairs of an evaluation in a world without pairs of its own: a pair is a seed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from ami.errors import require

DRAWS = 50
"""The largest number of seeds that are drawn per pair to find one whose episode is not solved at its start."""


def seed_pairs(env_id: str, seed: int, num_pairs: int,
               begins_solved: Callable[[int], bool] | None = None) -> list[dict[str, Any]]:
    """Draw seeds as pairs of the kind "episode".

    Args:
        env_id: the world's name in errors.
        seed: the seed of the draws.
        num_pairs: the number of pairs.
        begins_solved: whether the episode of a seed is solved at its start; such seeds are left out. None keeps all.

    Raises:
        SettingError: too many episodes are solved at their start.
    """
    draw = np.random.default_rng(seed)
    seeds = (int(draw.integers(2**31)) for _ in range(DRAWS * num_pairs))
    kept = (number for number in seeds if begins_solved is None or not begins_solved(number))
    pairs = [{"kind": "episode", "seed": number} for number in islice(kept, num_pairs)]
    require(len(pairs) == num_pairs,
            f"world {env_id}: of {DRAWS * num_pairs} episodes {DRAWS * num_pairs - len(pairs)} are solved at their "
            f"start: expected {num_pairs} that are not. Fix: reset() must draw a start that is not at the goal")
    return pairs
