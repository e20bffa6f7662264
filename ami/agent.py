"""Agent: the cognitive loop. Read this file first.

An agent is a graph of modules (`ami.graph.graph`) whose roles are those of the blueprint (`ami.blueprint`). One `cycle` is
one tick of its mind, over B worlds at once, in the order the wires dictate. With the shipped wiring that is:

    world         shows what followed from the last action
    perception    observation → percept
    goal          what is wanted → a state to be near to
    world_model   percept, last action, recall → state, and how surprising it was
    configurator  surprise, last energy → mode, weights of the cost
    cost          state, goal, weights → energy = intrinsic + critic
    memory        keeps (state, energy), answers with what it recalls
    planner       calls world_model.rollout and cost.energy on many candidate plans → the best plan      (Mode-2)
    actor         plan, or policy → action, which the world consumes at the next tick

Who fires a node is the runtime's affair: the nodes of one *segment* live in one process and fire one after another there;
what another segment reads of them travels in a *parcel*. In the local runtime there is one segment and nothing travels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ami.blueprint import Episode
from ami.errors import require
from ami.graph.graph import Graph
from ami.graph.partition import Segment

FLAGS = ("world.terminated", "world.truncated", "world.success", "world.reward")


def flags_of(graph: Graph) -> tuple[str, ...]:
    """The world's flags and reward, which every driver watches; a graph without a world has none."""
    return FLAGS if FLAGS[0].split(".")[0] in graph.order else ()


class Runtime(Protocol):
    """Where the modules live: one process, or Ray actors."""

    graph: Graph

    @property
    def segments(self) -> Sequence[Segment]:
        """The firing order, cut where processes change."""

    def ready(self) -> None:
        """Wait until every module is made."""

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        """Tell every worker which episodes begin."""

    def fire(self, segment: Segment, tick: int, parcels: Sequence[Any]) -> tuple[Any, Any]:
        """Fire a segment; returns its parcel and a handle to its watched outputs, either may still be under way."""

    def read(self, handle: Any) -> Mapping[str, Tensor]:
        """Wait for watched outputs: {"node.port": tensor}."""

    def settle(self) -> None:
        """Wait until all that was fired is done; raises what a module raised in the meantime."""

    def close(self) -> None:
        """Write the rest of the trace and stop every process it started."""


class TickOutputs(Mapping[str, Tensor]):
    """What one cycle brought: `moment["world.success"]`. A value is waited for when it is asked for."""

    def __init__(self, runtime: Runtime, handles: Mapping[str, Any]) -> None:
        self._runtime, self._handles = runtime, handles
        self._values: dict[str, Tensor] = {}

    def __getitem__(self, port: str) -> Tensor:
        if port not in self._values:
            self._values.update(self._runtime.read(self._handles[port]))
        return self._values[port]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handles)

    def __len__(self) -> int:
        return len(self._handles)


class Agent:
    """A mind in B worlds.

    Args:
        runtime: where its modules live.

    Example:
        >>> agent = Agent(LocalRuntime(graph, seed=0))
        >>> agent.reset(torch.ones(2, dtype=torch.bool), [Episode(0, seed=7), Episode(1, seed=8)])
        >>> moment = agent.cycle()
        >>> moment["world.success"]
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.graph = runtime.graph
        self.tick = 0
        self._batch = 0
        self._wave = -1
        self._parcels: dict[int, Any] = {}

    def reset(self, mask: Tensor, episodes: Sequence[Episode], wave: int | None = None) -> None:
        """Begin new episodes in the masked rows.

        Args:
            mask: (B,) bool; its length sets the number of parallel worlds.
            episodes: one per row; unmasked rows' entries are not read.
            wave: names this batch of episodes in the trace; by default the next number when all rows begin.

        Raises:
            SettingError: the episodes are not one per row, or rows are left out that have not begun before.
        """
        require(len(episodes) == len(mask), f"reset got {len(episodes)} episodes for {len(mask)} worlds: expected one each")
        if bool(mask.all()):
            self._wave = self._wave + 1 if wave is None else wave
            self.tick, self._parcels, self._batch = 0, {}, len(mask)
        require(len(mask) == self._batch, f"reset begins {int(mask.sum())} of {len(mask)} worlds while {self._batch} are "
                                          "running. Fix: begin all of them first")
        self.runtime.settle()
        self.runtime.begin(mask, episodes, self._wave)

    def cycle(self) -> TickOutputs:
        """One tick: every node that is due fires once, in order."""
        handles: dict[str, Any] = {}
        for segment in self.runtime.segments:
            parcels = [self._parcels[i] for i in segment.receives if i in self._parcels]
            self._parcels[segment.index], handle = self.runtime.fire(segment, self.tick, parcels)
            handles.update(dict.fromkeys(segment.watched, handle))
        self.tick += 1
        return TickOutputs(self.runtime, handles)

    def live(self, episodes: Sequence[Episode], wave: int | None = None) -> Iterator[TickOutputs]:
        """Live a batch of episodes side by side until the last one ends: one moment per tick.

        Worlds whose episode is over stand still while the others go on.
        """
        self.reset(torch.ones(len(episodes), dtype=torch.bool), episodes, wave)
        over = torch.zeros(len(episodes), dtype=torch.bool)
        while not bool(over.all()):
            moment = self.cycle()
            over = moment["world.terminated"] | moment["world.truncated"]
            yield moment

    def close(self) -> None:
        """Stop every process and finish the trace."""
        self.runtime.close()

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        try:
            if error is None:
                self.runtime.settle()
        finally:
            self.close()
