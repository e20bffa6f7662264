"""Callback: the base class of figures that are computed during learning from held-out episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ami.blueprint import Perception, WorldModel
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import require
from ami.graph.graph import Graph
from ami.learning.stage import Stage
from ami.learning.stage_run import LOG_EVERY, Row
from ami.module import Module


class Observer(NamedTuple):
    """A world model and the perception whose percepts it reads.

    Attributes:
        name: the world model's node.
        nodes: both nodes.
        suffix: appended to the names of its figures: ".NODE" if several world models learn, else nothing.
    """

    name: str
    nodes: tuple[str, str]
    perception: Perception
    world_model: WorldModel
    suffix: str


def observers_of(graph: Graph, modules: Mapping[str, Module]) -> list[Observer]:
    """Return the world models among some modules, each with the perception that its percepts are wired from."""
    found: list[tuple[str, str, Perception, WorldModel]] = []
    for node, module in modules.items():
        if not isinstance(module, WorldModel):
            continue
        for wire in graph.inputs[node]:
            perception = modules.get(wire.node)
            if wire.to_port == "percept" and isinstance(perception, Perception):
                found.append((node, wire.node, perception, module))
    return [Observer(node, (eye, node), perception, model, f".{node}" if len(found) > 1 else "")
            for node, eye, perception, model in found]


class Callback(ABC):
    """Figures of the observers, added to a stage's logged rows. They see held-out episodes and change nothing.

    Attributes:
        warn: shows a warning, set by the engine.

    Args:
        every: steps between two computations, a multiple of `LOG_EVERY`; 0 computes them at a stage's last step alone.

    Raises:
        SettingError: `every` is negative or no such multiple.
    """

    def __init__(self, every: int = 200) -> None:
        require(every >= 0 and every % LOG_EVERY == 0,
                f"{type(self).__name__}.every is {every}: expected a multiple of {LOG_EVERY} steps, or 0 for the end alone")
        self.every = every
        self.warn: Callable[[str], None] = lambda text: None

    def begin(self, observers: Sequence[Observer], episodes: ReplayBuffer) -> None:  # noqa: B027 - few callbacks need it
        """Prepare before learning: compute the figures of the untrained observers, if they are wanted beside.

        Args:
            observers: the world models with their perceptions, untrained.
            episodes: held-out episodes.
        """

    def is_due(self, stage: Stage, step: int) -> bool:
        """Return whether the figures are computed at a logged step, counted from 0."""
        return (bool(self.every) and step % self.every == 0) or (not self.every and step + 1 == stage.steps)

    @abstractmethod
    def figures(self, observer: Observer, episodes: ReplayBuffer, stage: Stage, step: int) -> Mapping[str, float]:
        """Return the figures of one observer by name; nan where they are not defined.

        Raises:
            SettingError: the figures show that learning has failed.
        """


class Callbacks:
    """Runs callbacks for every observer.

    Args:
        callbacks: the callbacks.
        observers: the world models with their perceptions.
        episodes: held-out episodes; None if there are none: then there are no figures.
        warn: shows a warning.
    """

    def __init__(self, callbacks: Sequence[Callback], observers: Sequence[Observer], episodes: ReplayBuffer | None,
                 warn: Callable[[str], None]) -> None:
        self._callbacks, self._observers, self._episodes = callbacks, observers, episodes
        for callback in callbacks:
            callback.warn = warn
            if episodes is not None:
                callback.begin(observers, episodes)

    def add(self, row: Row, stage: Stage) -> None:
        """Add the figures that are due to a stage's logged row, of the observers that it trains."""
        trained, step = {path.split(".")[0] for path in stage.train}, int(row["step"])
        if self._episodes is None:
            return
        for callback in self._callbacks:
            if callback.is_due(stage, step):
                for one in self._observers:
                    if trained & set(one.nodes):
                        found = callback.figures(one, self._episodes, stage, step)
                        row.update({f"{name}{one.suffix}": value for name, value in found.items()})
