"""A gymnasium environment that fails at step 3 of chosen episodes: it raises, exits or hangs, always or once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import gymnasium
import numpy as np


class Fragile(gymnasium.Env):
    """Episodes of six steps.

    Args:
        seeds: those of the episodes that fail.
        how: "raise", "exit", "hang", or "reset", which raises at the reset.
        once: a file; the environment fails only while it does not exist, and makes it before.
        is_random: whether the same seed and actions give other observations every time.
    """

    observation_space = gymnasium.spaces.Box(-100, 100, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, seeds: Sequence[int] = (), how: str = "raise", once: str = "", is_random: bool = False) -> None:
        self.seeds, self.how, self.once, self.is_random = tuple(seeds), how, Path(once), is_random

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.is_random:
            self.np_random = np.random.default_rng()
        self.seed, self.steps = seed, 0
        if self.how == "reset":
            self.fail()
        return self.np_random.uniform(-1, 1, 2), {"state": np.ones(1)}

    def step(self, action):
        self.steps += 1
        if self.steps == 3 and self.how != "reset":
            self.fail()
        return self.np_random.uniform(-1, 1, 2) + action, 1.0, self.steps == 6, False, {"state": np.ones(1)}

    def fail(self) -> None:
        if self.seed not in self.seeds or self.once.is_file():
            return
        if self.once.name:
            self.once.touch()
        if self.how == "exit":
            os._exit(7)
        if self.how == "hang":
            time.sleep(60)
        raise ConnectionError("the cable broke")
