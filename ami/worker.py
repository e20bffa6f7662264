"""Worker: holds some nodes of a graph and fires them in order.

In the local runtime one worker holds the whole mind; under Ray each actor is a worker. The code is the same, which is why
both give the same trace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ami.blueprint import Episode, World
from ami.errors import CheckpointError, PortError, WorkerLost, require
from ami.graph import Graph
from ami.module import Callee, Calls, Module
from ami.recorder import NoTrace, Recorder
from ami.streams import Streams, derive_seed

Outputs = Mapping[str, Tensor]
Parcel = tuple[int, Mapping[str, Outputs]]
"""What leaves a worker after it fired: the tick, and some nodes' outputs."""
Weights = Mapping[str, Mapping[str, Tensor]]
"""State dicts by node."""


class _Feed(NamedTuple):
    """A wire that is late: what its producer sent `delay` ticks ago; `fill` while that is nothing."""

    to_port: str
    sent: dict[int, Outputs]
    port: str
    delay: int
    fill: Tensor


class _Firing(NamedTuple):
    """All that firing one node takes, looked up once per batch of episodes instead of once per tick.

    Attributes:
        step: the module's.
        every: ticks between two firings.
        direct: the undelayed wires, as (input, what the producer sent, its port).
        late: the delayed wires.
        absent: the inputs that are not wired, as None, or whose wire is cut, as what arrives for ever.
        sent: what this node sent, by tick.
    """

    step: Callable[..., Outputs]
    every: int
    direct: list[tuple[str, dict[int, Outputs], str]]
    late: list[_Feed]
    absent: dict[str, Tensor | None]
    sent: dict[int, Outputs]


class Worker:
    """Some nodes of a graph, made, bound and ready to fire.

    Args:
        graph: the sound graph.
        nodes: the nodes this worker fires.
        seed: the run's seed: initial weights and random streams derive from it.
        weights: trained weights by node; nodes without an entry keep their initial weights.
        recorder: is told of every invocation.
    """

    def __init__(self, graph: Graph, nodes: Iterable[str], seed: int, weights: Weights | None = None,
                 recorder: Recorder | None = None) -> None:
        self.graph = graph
        self.nodes = tuple(n for n in graph.order if n in set(nodes))
        self.recorder = recorder or NoTrace()
        held = set(self.nodes) | {callee for node in self.nodes for callee in graph.callees(node)}
        # a callee that lives in another worker is held here as a replica: call edges cost no transport
        self.modules = {n: build_module(graph, n, seed) for n in graph.order if n in held}
        for node, module in self.modules.items():
            module.calls = Calls(node, {name: Callee(callee, self.modules[callee])
                                        for name, callee in graph.calls[node].items() if callee in self.modules})
            if weights and node in weights:
                load_weights(node, module, weights[node])
            module.eval()
        for node in self.nodes:
            self.modules[node].notes = self.recorder.notes(node)
        self._depth = 1 + max((wire.delay for wire in graph.wires), default=0)
        self._sent: dict[str, dict[int, Outputs]] = {n: {} for n in graph.order}
        self._firings: dict[str, _Firing] = {}
        self._wave = 0
        self._begun: Tensor | None = None
        self._born = torch.zeros(0, dtype=torch.int64)  # the tick at which each row's episode began, and the latest of them
        self._youngest = 0
        self._unchecked: set[str] = set()

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        """New episodes begin in the masked rows (B,); nothing of the old ones reaches them.

        Raises:
            SettingError: some rows begin while others go on, and a node fires only every n ticks: the rows would be out of
                step with each other.
        """
        self._wave = wave
        self._unchecked = set(self.nodes)
        fresh = len(mask) != next((m.batch for m in self.modules.values()), 0) or bool(mask.all())
        slow = [node for node, every in self.graph.every.items() if every > 1]
        require(fresh or not slow, f"{int(mask.sum())} of {len(mask)} worlds begin anew, but {', '.join(slow)} fires "
                                   "only every few ticks, for all of them. Fix: begin all episodes together")
        for module in self.modules.values():
            if isinstance(module, World):
                module.assign(mask, list(episodes))
            module.begin(mask, [episode.number for episode in episodes])
        if fresh:
            for sent in self._sent.values():
                sent.clear()
            self._firings = {node: self._firing(node, len(mask)) for node in self.nodes}
            self._born, self._youngest, self._begun = torch.zeros(len(mask), dtype=torch.int64), 0, None
        else:
            self._begun = mask if self._begun is None else mask | self._begun

    def fire(self, nodes: Sequence[str], tick: int, parcels: Sequence[Parcel] = ()) -> dict[str, Outputs]:
        """Fire some nodes for one tick.

        Args:
            nodes: which, in firing order.
            tick: the tick's number since the last full reset.
            parcels: what other workers sent since the last call.

        Returns:
            Each node's outputs.
        """
        for sent_at, contents in parcels:
            for node, outputs in contents.items():
                self._sent[node][sent_at] = outputs
                self._sent[node].pop(sent_at - self._depth, None)
        if self._begun is not None:
            self._born = torch.where(self._begun, tick, self._born)
            self._youngest, self._begun = tick, None
        fired: dict[str, Outputs] = {}
        add, wave, depth, clock = self.recorder.add, self._wave, self._depth, time.perf_counter_ns
        try:
            with torch.no_grad():
                for node in nodes:
                    step, every, direct, late, absent, sent = self._firings[node]
                    if every > 1 and tick % every:
                        outputs = sent[tick - 1]
                    else:
                        inputs = absent.copy()
                        for to_port, source, port in direct:
                            inputs[to_port] = source[tick][port]
                        for feed in late:
                            inputs[feed.to_port] = self._arriving(feed, tick)
                        start = clock()
                        outputs = step(**inputs)
                        end = clock()
                        if self._unchecked:
                            self._check(node, outputs)
                        add(node, wave, tick, start, end, outputs)
                    sent[tick] = fired[node] = outputs
                    sent.pop(tick - depth, None)
        finally:  # also where a module fails: what came before it is what will explain it
            self.recorder.keep()
        return fired

    def close(self) -> None:
        """Write the rest of the trace."""
        self.recorder.close()

    def _firing(self, node: str, batch: int) -> _Firing:
        module = self.modules[node]
        direct: list[tuple[str, dict[int, Outputs], str]] = []
        late: list[_Feed] = []
        severed: dict[str, Tensor] = {}
        for wire in self.graph.inputs[node]:
            sent = self._sent[wire.node]
            port = module.inputs[wire.to_port]
            fill = torch.full((batch, *port.shape(module.dims)), wire.init, dtype=port.dtype or torch.float32)
            if wire.cut:
                severed[wire.to_port] = fill
            elif wire.delay:
                late.append(_Feed(wire.to_port, sent, wire.port, wire.delay, fill))
            else:
                direct.append((wire.to_port, sent, wire.port))
        wired = {wire.to_port for wire in self.graph.inputs[node]}
        absent: dict[str, Tensor | None] = {**{port: None for port in module.inputs if port not in wired}, **severed}
        return _Firing(module.step, self.graph.every[node], direct, late, absent, self._sent[node])

    def _arriving(self, feed: _Feed, tick: int) -> Tensor:
        sent_at = tick - feed.delay
        if sent_at < 0:
            return feed.fill
        then = feed.sent.get(sent_at)
        if then is None:
            raise WorkerLost(f"what {feed.to_port} is wired from never came at tick {sent_at}: its sender failed or died")
        value = then[feed.port]
        return value if sent_at >= self._youngest else self._since_birth(value, feed.fill, sent_at)

    def _check(self, node: str, outputs: Outputs) -> None:
        """At the first tick of an episode every message is held against its port; later ticks trust the module."""
        if node not in self._unchecked:
            return
        self._unchecked.discard(node)
        module = self.modules[node]
        if not isinstance(outputs, Mapping):
            raise PortError(f"{node}.step() gave a {type(outputs).__name__}: expected a dict of its outputs, "
                            f"{{{', '.join(module.outputs)}}}. Fix: return one in {type(module).__name__}.step()")
        for name, port in module.outputs.items():
            port.validate(f"{node}.{name}", outputs.get(name), module.dims, module.batch)

    def _since_birth(self, value: Tensor, fill: Tensor, sent_at: int) -> Tensor:
        """Rows whose episode began after a message was sent receive the wire's `fill` in its place."""
        old = (self._born > sent_at).to(value.device).view(-1, *[1] * (value.ndim - 1))
        return torch.where(old, fill.to(value), value)


def build_module(graph: Graph, node: str, seed: int) -> Module:
    """Make one module of the graph, with initial weights that depend on the seed and the node's name alone."""
    module: Module = graph.parts[node].make()
    module.random = Streams(seed, node)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, node, "weights"))
        module.set_up(graph.dims[node], graph.actions.get(node))
    return module


def load_weights(node: str, module: Module, weights: Mapping[str, Tensor]) -> None:
    """Load one node's weights.

    Raises:
        CheckpointError: the names or shapes are another module's.
    """
    own = module.state_dict()
    wrong = [name for name in own if name not in weights or own[name].shape != weights[name].shape]
    wrong += [name for name in weights if name not in own]
    if wrong:
        raise CheckpointError(
            f"the checkpoint does not fit {node} ({type(module).__name__}): {', '.join(wrong[:3])}"
            f"{' and more' if len(wrong) > 3 else ''} differ in name or shape. "
            f"Fix: train this agent anew, or load it with the settings it was trained with")
    module.load_state_dict(dict(weights))
