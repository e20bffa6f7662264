"""The local runtime: every module in this process. The reference for all other runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ami.agent import flags_of
from ami.blueprint import Episode
from ami.graph.graph import Graph
from ami.graph.partition import Segment, cut
from ami.runtime.held_messages import report_held
from ami.runtime.held_modules import Weights, published
from ami.runtime.mailbox import Outputs
from ami.runtime.recorder import Recorder
from ami.runtime.worker import Worker


class LocalRuntime:
    """One worker, one segment, no parcels.

    Args:
        graph: the checked graph.
        seed: the run's seed.
        weights: trained weights by node.
        recorder: records every invocation; None records nothing.
        watch: ports to read besides the world's flags, as "node.port".

    Raises:
        SettingError: a watched port does not exist.
    """

    def __init__(self, graph: Graph, seed: int = 0, weights: Weights | None = None, recorder: Recorder | None = None,
                 watch: Sequence[str] = ()) -> None:
        self.graph = graph
        self.segments: Sequence[Segment] = cut(graph, "agent", (*flags_of(graph), *watch))
        self._watched = [(name, *name.split(".")) for name in self.segments[0].watched]
        self.worker = Worker(graph, graph.fired, seed, weights, recorder)

    def ready(self) -> None:
        """Return at once: there is nothing to wait for."""

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        self.worker.begin(mask, episodes, wave)

    def fire(self, segment: Segment, tick: int, parcels: Sequence[object],
             most: int = 1) -> tuple[None, dict[str, Outputs]]:
        return None, self.worker.fire(segment.nodes, tick)

    def read(self, handle: dict[str, Outputs]) -> Mapping[str, Tensor]:
        return {name: handle[node][port] for name, node, port in self._watched}

    def publish(self, version: int, weights: Weights) -> None:
        self.worker.load(version, published(self.graph, weights))

    def settle(self) -> None:
        """Report the nodes that have held their last messages; there is nothing to wait for."""
        report_held(self.worker.held_messages.taken())

    def close(self) -> None:
        self.worker.close()
