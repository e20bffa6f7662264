"""Worker: holds some nodes of a graph and fires them in order.

In the local runtime one worker holds the whole mind; under Ray each actor is a worker. The code is the same, which is why
both give the same trace.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ami.blueprint import Episode, World
from ami.errors import CheckpointError, PortError
from ami.graph import Graph
from ami.module import Callee, Calls, Module
from ami.recorder import NoTrace, Recorder
from ami.streams import Streams, derive_seed
from ami.wiring import Wire

Outputs = Mapping[str, Tensor]
Parcel = tuple[int, Mapping[str, Outputs]]
"""What leaves a worker after it fired: the tick, and some nodes' outputs."""
Weights = Mapping[str, Mapping[str, Tensor]]
"""State dicts by node."""


class _Feed(NamedTuple):
    """Where one input's value is found: what its producer sent `delay` ticks ago; `fill` while that is nothing."""

    to_port: str
    sent: dict[int, Outputs]
    port: str
    delay: int
    fill: Tensor | None


class Worker:
    """Some nodes of a graph, made, bound and ready to fire.

    Args:
        graph: the sound graph.
        nodes: the nodes this worker fires.
        seed: the run's seed: initial weights and random streams derive from it.
        weights: trained weights by node; nodes without an entry keep their initial weights.
        recorder: is told of every invocation.
        devices: torch device names by node; "cpu" where absent.
    """

    def __init__(self, graph: Graph, nodes: Iterable[str], seed: int, weights: Weights | None = None,
                 recorder: Recorder | None = None, devices: Mapping[str, str] | None = None) -> None:
        self.graph = graph
        self.nodes = tuple(n for n in graph.order if n in set(nodes))
        self.recorder = recorder or NoTrace()
        held = set(self.nodes) | {callee for node in self.nodes for callee in graph.callees(node)}
        devices = devices or {}
        # a callee that lives in another worker is held here as a replica: call edges cost no transport
        self.modules = {n: build_module(graph, n, seed, devices.get(n, "cpu")) for n in graph.order if n in held}
        for node, module in self.modules.items():
            module.calls = Calls(node, {name: Callee(callee, self.modules[callee])
                                        for name, callee in graph.calls[node].items() if callee in self.modules})
            if weights and node in weights:
                load_weights(node, module, weights[node])
            module.eval()
        self._depth = 1 + max((wire.delay for wire in graph.wires), default=0)
        self._sent: dict[str, dict[int, Outputs]] = {n: {} for n in graph.order}
        self._feeds: dict[str, list[_Feed]] = {}
        self._unwired: dict[str, dict[str, Tensor | None]] = {
            node: {port: None for port in self.modules[node].inputs if port not in {w.to_port for w in graph.inputs[node]}}
            for node in self.nodes}
        self._wave = 0
        self._begun: Tensor | None = None
        self._born = torch.zeros(0, dtype=torch.int64)  # the tick at which each row's episode began, and the latest of them
        self._youngest = 0
        self._unchecked: set[str] = set()

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        """New episodes begin in the masked rows (B,); nothing of the old ones reaches them."""
        self._wave = wave
        self._unchecked = set(self.nodes)
        fresh = len(mask) != next((m.batch for m in self.modules.values()), 0) or bool(mask.all())
        for module in self.modules.values():
            if isinstance(module, World):
                module.assign(mask, list(episodes))
            module.begin(mask, [episode.number for episode in episodes])
        if fresh:
            for sent in self._sent.values():
                sent.clear()
            self._feeds = {node: [self._feed(wire, len(mask)) for wire in self.graph.inputs[node]] for node in self.nodes}
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
        with torch.no_grad():
            for node in nodes:
                fired[node] = self._fire_one(node, tick)
        return fired

    def close(self) -> None:
        """Write the rest of the trace."""
        self.recorder.close()

    def _fire_one(self, node: str, tick: int) -> Outputs:
        module = self.modules[node]
        sent = self._sent[node]
        if tick % self.graph.every[node] and node not in self._unchecked:
            outputs = sent[tick] = sent[tick - 1]
            sent.pop(tick - self._depth, None)
            return outputs
        inputs = self._unwired[node].copy()
        for to_port, source, port, delay, fill in self._feeds[node]:
            then = source.get(tick - delay)
            value = fill if then is None else then[port]
            inputs[to_port] = value if tick - delay >= self._youngest else self._since_birth(value, fill, tick - delay)
        start = time.perf_counter_ns()
        outputs = module.step(**inputs)
        end = time.perf_counter_ns()
        if self._unchecked:
            self._check(node, module, outputs)
        self.recorder.add(node, self._wave, tick, start, end, outputs)
        sent[tick] = outputs
        sent.pop(tick - self._depth, None)
        return outputs

    def _feed(self, wire: Wire, batch: int) -> _Feed:
        module = self.modules[wire.to_node]
        port = module.inputs[wire.to_port]
        fill = torch.full((batch, *port.shape(module.dims)), wire.init, dtype=port.dtype or torch.float32,
                          device=module.device) if wire.delay else None
        return _Feed(wire.to_port, self._sent[wire.node], wire.port, wire.delay, fill)

    def _check(self, node: str, module: Module, outputs: Outputs) -> None:
        """At the first tick of an episode every message is held against its port; later ticks trust the module."""
        if node not in self._unchecked:
            return
        self._unchecked.discard(node)
        if not isinstance(outputs, Mapping):
            raise PortError(f"{node}.step() gave a {type(outputs).__name__}: expected a dict of its outputs, "
                            f"{{{', '.join(module.outputs)}}}. Cure: return one in {type(module).__name__}.step()")
        for name, port in module.outputs.items():
            port.validate(f"{node}.{name}", outputs.get(name), module.dims, module.batch)

    def _since_birth(self, value: Tensor, fill: Tensor, sent_at: int) -> Tensor:
        """Rows whose episode began after a message was sent receive the wire's `fill` in its place."""
        old = (self._born > sent_at).to(value.device).view(-1, *[1] * (value.ndim - 1))
        return torch.where(old, fill.to(value), value)


def build_module(graph: Graph, node: str, seed: int, device: str = "cpu") -> Module:
    """Make one module of the graph, with initial weights that depend on the seed and the node's name alone."""
    module: Module = graph.parts[node].make()
    module.device = torch.device(device)
    module.random = Streams(seed, node)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, node, "weights"))
        module.set_up(graph.dims[node])
    return module.to(module.device)


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
            f"Cure: train this agent anew, or load it with the settings it was trained with")
    module.load_state_dict(dict(weights))
