"""LinearProbe: how much of the true state a ridge regression reads from held-out states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ami.data.replay_buffer import TRUTH, ReplayBuffer
from ami.learning.callbacks.callback import Callback, Observer
from ami.learning.probe import probe
from ami.learning.stage import Stage


class LinearProbe(Callback):
    """`probe_r2`, the explained variance of the true state (`ami.learning.probe`), and `untrained_r2` before learning.

    Without a true state there are no figures.
    """

    def __init__(self, every: int = 200) -> None:
        super().__init__(every)
        self._untrained: dict[str, float] = {}

    def begin(self, observers: Sequence[Observer], episodes: ReplayBuffer) -> None:
        self._untrained = {one.name: probe(episodes, one.perception, one.world_model)[0].r2 for one in observers
                           if has_truth(episodes)}

    def figures(self, observer: Observer, episodes: ReplayBuffer, stage: Stage, step: int) -> Mapping[str, float]:
        if not has_truth(episodes):
            return {}
        found = probe(episodes, observer.perception, observer.world_model)[0].r2
        return {"probe_r2": found, "untrained_r2": self._untrained.get(observer.name, float("nan"))}


def has_truth(episodes: ReplayBuffer) -> bool:
    """Return whether the world's true state was recorded."""
    return TRUTH in episodes.columns and 0 not in episodes.columns[TRUTH].shape
