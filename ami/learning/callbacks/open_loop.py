"""OpenLoop: the prediction error after k imagined steps, relative to persistence's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ami.data.replay_buffer import ReplayBuffer
from ami.errors import require
from ami.learning.callbacks.callback import Callback, Observer
from ami.learning.prediction_error import HORIZON, error_vs_persistence
from ami.learning.stage import Stage


class OpenLoop(Callback):
    """`error_vs_persistence` after 5 steps, `error_vs_persistence_K` after other numbers of steps.

    0 is exact, 1 is no better than the guess that nothing moves (`ami.learning.prediction_error`).

    Args:
        horizons: numbers of imagined steps.
        every: as in `Callback`.

    Raises:
        SettingError: a horizon is below 1, or `every` is out of its range.
    """

    def __init__(self, horizons: Sequence[int] = (HORIZON,), every: int = 200) -> None:
        super().__init__(every)
        require(len(horizons) > 0 and min(horizons) >= 1,
                f"OpenLoop.horizons is {list(horizons)}: expected one or more numbers of steps, each 1 or more")
        self.horizons = tuple(horizons)

    def figures(self, observer: Observer, episodes: ReplayBuffer, stage: Stage, step: int) -> Mapping[str, float]:
        return {"error_vs_persistence" + f"_{horizon}" * (horizon != HORIZON):
                error_vs_persistence(episodes, observer.perception, observer.world_model, horizon)
                for horizon in self.horizons}
