"""Agent: the cognitive loop. Read this file first.

An agent is a graph of modules (`ami.graph.graph`) whose roles are those of the blueprint (`ami.blueprint`). One `cycle` is
one tick of the graph, in B worlds at once; the wires determine the order. With the shipped wiring it is:

    world         last action → observation
    perception    observation → percept
    world_model   percept, last action → state, surprise
    configurator  surprise, last energy → mode, weights of the cost
    goal          goal observation, mode → goal state
    cost          state, goal, weights → energy = intrinsic + critic
    memory        stores (state, energy) → recall
    planner       calls world_model.imagine and cost.energy on many candidate plans → the best plan      (Mode-2)
    actor         plan, or policy → action, which the world receives at the next tick

The runtime decides where nodes run. Consecutive nodes placed in one process form a *segment*; outputs that other segments
need are sent as a *parcel*. The local runtime has one segment and sends no parcels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from ami.blueprint import Episode, World
from ami.errors import require
from ami.graph.graph import Graph
from ami.graph.partition import Segment

FLAGS = ("terminated", "truncated", "success", "reward")
"""The outputs of a world that are always watched: every loop that runs an agent needs them."""


def flags_of(graph: Graph) -> tuple[str, ...]:
    """Return the ports of the flags and rewards of all worlds."""
    return tuple(f"{world}.{flag}" for world in graph.nodes_of(World) for flag in FLAGS
                 if flag in graph.outputs[world])


class Runtime(Protocol):
    """Runs the modules, in one process or as Ray actors."""

    graph: Graph

    @property
    def segments(self) -> Sequence[Segment]:
        """The firing order, split where consecutive nodes run in different processes."""

    def ready(self) -> None:
        """Wait until every module is built."""

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        """Start new episodes in the masked rows (B,) on every worker."""

    def fire(self, segment: Segment, tick: int, parcels: Sequence[Any], most: int = 1) -> tuple[Any, Any]:
        """Fire a segment; return its parcel and a handle to its watched outputs, without waiting for either.

        The caller runs `most` ticks from this one on, or fewer if an episode ends; a runtime may compute them ahead.
        """

    def read(self, handle: Any) -> Mapping[str, Tensor]:
        """Wait for watched outputs: {"node.port": tensor}."""

    def publish(self, version: int, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load weights into the modules of every process, replicas included, between two ticks.

        They take effect at the next tick; ticks that the driver has asked for already (`most` of `fire`) keep the old ones.

        Args:
            version: recorded in the trace with every later invocation; larger than the one before.
            weights: state dicts by node; other nodes keep theirs.

        Raises:
            SettingError: the version is not larger than the one before.
            UnknownName: there is no such node.
            CheckpointError: names or shapes differ from a module's; all modules are left unchanged.
        """

    def settle(self) -> None:
        """Wait until every fired segment is done; raise the error of a module that failed in the meantime."""

    def close(self) -> None:
        """Write the rest of the trace and stop the runtime's processes."""


class TickOutputs(Mapping[str, Tensor]):
    """The watched outputs of one cycle: `outputs["world.success"]`. A value is fetched on first access."""

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
    """An agent in B parallel worlds.

    Args:
        runtime: where its modules run.

    Example:
        >>> agent = Agent(LocalRuntime(graph, seed=0))
        >>> agent.reset(torch.ones(2, dtype=torch.bool), [Episode(0, seed=7), Episode(1, seed=8)])
        >>> outputs = agent.cycle()
        >>> outputs["world.success"]
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.graph = runtime.graph
        self.tick = 0
        self._batch = 0
        self._wave = -1
        self._parcels: dict[int, Any] = {}

    def reset(self, mask: Tensor, episodes: Sequence[Episode], wave: int | None = None) -> None:
        """Start new episodes in the masked rows.

        Args:
            mask: (B,) bool; its length sets the number of parallel worlds.
            episodes: one per row; unmasked rows' entries are not read.
            wave: the number of this batch of episodes in the trace; by default the next number when all rows begin.

        Raises:
            SettingError: `episodes` and `mask` differ in length, or some rows begin although the agent runs another number
                of rows.
        """
        require(len(episodes) == len(mask), f"reset got {len(episodes)} episodes for {len(mask)} worlds: expected one each")
        if bool(mask.all()):
            self._wave = self._wave + 1 if wave is None else wave
            self.tick, self._parcels, self._batch = 0, {}, len(mask)
        require(len(mask) == self._batch, f"reset starts episodes in {int(mask.sum())} of {len(mask)} rows, but the agent "
                                          f"runs {self._batch}. Fix: start all rows first")
        self.runtime.settle()
        self.runtime.begin(mask, episodes, self._wave)

    def cycle(self, most: int = 1) -> TickOutputs:
        """Run one tick: every node that is due fires once, in order.

        Args:
            most: the number of ticks, this one included, that the caller runs before its next `reset`, or fewer if an
                episode ends. A runtime may compute them ahead; it stops at a tick at which an episode ends.
        """
        handles: dict[str, Any] = {}
        for segment in self.runtime.segments:
            parcels = [self._parcels[i] for i in segment.receives if i in self._parcels]
            self._parcels[segment.index], handle = self.runtime.fire(segment, self.tick, parcels, most)
            handles.update(dict.fromkeys(segment.watched, handle))
        self.tick += 1
        return TickOutputs(self.runtime, handles)

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
