"""Figures of a house's episodes for `evaluation.metrics`; the return counts the errands that were done."""

from typing import Any

import numpy as np


def died(episode: Any) -> float:
    """Return 1 if the battery was empty before the errands were done, else 0."""
    return float(not episode.success and bool(np.asarray(episode.ports["world.terminated"])[-1]))


def out_of_time(episode: Any) -> float:
    """Return 1 if the errands were not done in time, else 0."""
    return float(not episode.success and bool(np.asarray(episode.ports["world.truncated"])[-1]))


died.ports = ("world.terminated",)  # type: ignore[attr-defined]
out_of_time.ports = ("world.truncated",)  # type: ignore[attr-defined]
