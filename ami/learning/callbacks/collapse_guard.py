"""CollapseGuard: stop learning, or warn, when all held-out states become the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ami.data.replay_buffer import ReplayBuffer
from ami.errors import SettingError, require
from ami.learning.callbacks.callback import Callback, Observer
from ami.learning.stage import Stage
from ami.learning.states import percepts_of, states_of


class CollapseGuard(Callback):
    """`state_std`, the mean standard deviation of a state's dimensions over held-out episodes.

    States have collapsed if it falls below a share of the untrained one.

    Args:
        smallest: the share of the untrained standard deviation that counts as collapse.
        stop: whether a collapse ends learning with an error; otherwise it is a warning, once per stage.
        every: as in `Callback`.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, smallest: float = 0.01, stop: bool = False, every: int = 200) -> None:
        super().__init__(every)
        require(0 < smallest < 1, f"CollapseGuard.smallest is {smallest}: expected more than 0 and less than 1")
        self.smallest, self.stop = smallest, stop
        self._untrained: dict[str, float] = {}
        self._warned: set[tuple[str, str]] = set()

    def begin(self, observers: Sequence[Observer], episodes: ReplayBuffer) -> None:
        self._untrained = {one.name: std_of(one, episodes) for one in observers}

    def figures(self, observer: Observer, episodes: ReplayBuffer, stage: Stage, step: int) -> Mapping[str, float]:
        std, before = std_of(observer, episodes), self._untrained.get(observer.name, 0.0)
        if std < self.smallest * before:
            text = (f"learning.stages.{stage.name}: the states of {observer.name} collapsed by step {step}: their standard "
                    f"deviation is {std:.2g}, {std / before:.2g} of the untrained {before:.2g}. Fix: another anti_collapse, "
                    "or a smaller learning_rate")
            if self.stop:
                raise SettingError(text)
            if (stage.name, observer.name) not in self._warned:
                self._warned.add((stage.name, observer.name))
                self.warn(text)
        return {"state_std": std}


def std_of(observer: Observer, episodes: ReplayBuffer) -> float:
    """Return the mean standard deviation of a state's dimensions over episodes."""
    states = states_of(episodes, percepts_of(episodes, observer.perception), observer.world_model)
    return float(states.whole().flatten(1).double().std(0).mean())
