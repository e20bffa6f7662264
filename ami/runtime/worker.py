"""Worker: holds some nodes of a graph and fires them in order.

In the local runtime one worker holds all nodes; under Ray each actor is a worker. The code is the same, so both runtimes
give the same trace.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ami.blueprint import Episode, World
from ami.errors import AmiError, CheckpointError, ModuleError, PortError, WorkerLost, require
from ami.graph.faults import FIX, blamed, callee_of, describe, raised
from ami.graph.graph import Graph
from ami.module import Arrival, Callee, Calls, Module
from ami.rng import RowRNG, derive_seed
from ami.runtime.recorder import NoTrace, Recorder

Outputs = Mapping[str, Tensor]
Parcel = tuple[int, Mapping[str, Outputs]]
"""Outputs sent to other workers: the tick, and outputs by node."""
Weights = Mapping[str, Mapping[str, Tensor]]
"""State dicts by node."""
SMALL = 256
"""Up to this many numbers, Python sums a message faster than torch does."""


class _DelayedInput(NamedTuple):
    """A delayed wire: the producer's output `delay` ticks ago, or `fill` if there is none."""

    to_port: str
    sent: dict[int, Outputs]
    port: str
    delay: int
    fill: Tensor


class _NodePlan(NamedTuple):
    """Invocation plan of one node, made once per batch of episodes instead of once per tick.

    Attributes:
        step: the module's step.
        every: ticks between two firings.
        direct: the undelayed wires, as (input, the producer's outputs by tick, its port).
        late: the delayed wires.
        absent: constant inputs: None if unwired, the wire's `init` if cut.
        sent: this node's outputs, by tick.
        expected: the outputs, as (port, shape, dtype).
        judged: the outputs checked for finite numbers at every tick: one number per world, and actions.
    """

    step: Callable[..., Outputs]
    every: int
    direct: list[tuple[str, dict[int, Outputs], str]]
    late: list[_DelayedInput]
    absent: dict[str, Tensor | None]
    sent: dict[int, Outputs]
    expected: list[tuple[str, torch.Size, torch.dtype | None]]
    judged: list[str]


class _Guard:
    """Detects in-place changes of messages by a step. A check of every node at every tick costs too much: the worker checks
    all nodes when episodes begin, then one node per tick, in turn. Tensors of torch's inference mode cannot be checked.

    Args:
        inputs: the step's inputs.
        sent: the node's outputs at the previous tick.
    """

    def __init__(self, inputs: Mapping[str, Tensor | None], sent: Outputs | None) -> None:
        named = [(f"its input '{name}'", value) for name, value in inputs.items() if value is not None]
        named += [(f"'{name}', which it had sent at the tick before,", value) for name, value in (sent or {}).items()]
        self._before = [(name, value, value._version) for name, value in named if not value.is_inference()]

    def changed(self) -> str:
        """Return the first changed message as text; empty if none changed."""
        return next((name for name, value, version in self._before if value._version != version), "")


class Worker:
    """Some nodes of a graph, built, bound and ready to fire.

    Args:
        graph: the checked graph.
        nodes: the nodes this worker fires.
        seed: the run's seed: initial weights and random streams derive from it.
        weights: trained weights by node; nodes without an entry keep their initial weights.
        recorder: records every invocation.
    """

    def __init__(self, graph: Graph, nodes: Iterable[str], seed: int, weights: Weights | None = None,
                 recorder: Recorder | None = None) -> None:
        self.graph = graph
        self.nodes = tuple(n for n in graph.order if n in set(nodes))
        self.recorder = recorder or NoTrace()
        held = set(self.nodes) | {callee for node in self.nodes for callee in graph.callees(node)}
        # a callee of another worker is held here as a replica: call edges cost no transport
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
        self._plans: dict[str, _NodePlan] = {}
        self._wave = 0
        self._begun: Tensor | None = None
        self._born = torch.zeros(0, dtype=torch.int64)  # each row's first tick, and the latest of them
        self._youngest = 0
        self._numbers: list[int] = []  # of the episodes, by row

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        """Start new episodes in the masked rows (B,). Delayed messages from their previous episodes are dropped.

        Raises:
            SettingError: some rows begin while others continue, and a node fires only every n ticks: the rows would be out
                of step.
            PortError: a module's carry is not a mapping of tensors with one row per world.
            ModuleError: a module's own code failed.
        """
        self._wave = wave
        fresh = len(mask) != next((m.batch for m in self.modules.values()), 0) or bool(mask.all())
        slow = [node for node, every in self.graph.every.items() if every > 1]
        require(fresh or not slow, f"{int(mask.sum())} of {len(mask)} worlds start new episodes, but {', '.join(slow)} "
                                   "fires only every few ticks, for all of them. Fix: begin all episodes together")
        for node, module in self.modules.items():
            with blamed(node, f"begin() at wave {wave}"):
                if isinstance(module, World):
                    module.assign(mask, list(episodes))
                module.begin(mask, [episode.number for episode in episodes])
            _check_carry(node, module)
        begun = zip(mask.tolist(), episodes, self._numbers or [-1] * len(mask), strict=False)
        self._numbers = [episode.number if new else old for new, episode, old in begun]
        if fresh:
            for sent in self._sent.values():
                sent.clear()
            self._plans = {node: self._plan(node, len(mask)) for node in self.nodes}
            self._born, self._youngest, self._begun = torch.zeros(len(mask), dtype=torch.int64), 0, None
        else:
            self._begun = mask if self._begun is None else mask | self._begun

    def fire(self, nodes: Sequence[str], tick: int, parcels: Sequence[Parcel] = ()) -> dict[str, Outputs]:
        """Fire some nodes for one tick.

        Args:
            nodes: the nodes, in firing order.
            tick: the number of ticks since the last full reset.
            parcels: outputs that other workers sent since the last call.

        Returns:
            Each node's outputs.

        Raises:
            ModuleError: a module's own code failed.
            PortError: a module's outputs do not fit its ports, or hold numbers that are not finite.
        """
        for sent_at, contents in parcels:
            for node, outputs in contents.items():
                self._sent[node][sent_at] = outputs
                self._sent[node].pop(sent_at - self._depth, None)
        if self._begun is not None:
            self._born = torch.where(self._begun, tick, self._born)
            self._youngest, self._begun = tick, None
        fired: dict[str, Outputs] = {}
        guarded = self.graph.order[tick % len(self.graph.order)]
        add, wave, depth, clock = self.recorder.add, self._wave, self._depth, time.perf_counter_ns
        try:
            with torch.no_grad():
                for node in nodes:
                    step, every, direct, late, absent, sent, expected, judged = self._plans[node]
                    if every > 1 and tick % every:
                        outputs = sent[tick - 1]
                    else:
                        inputs = absent.copy()
                        for to_port, source, port in direct:
                            inputs[to_port] = source[tick][port]
                        for feed in late:
                            inputs[feed.to_port] = self._arriving(feed, tick)
                        guard = None
                        if node == guarded or tick == self._youngest:
                            guard = _Guard(inputs, sent.get(tick - 1))
                        start = clock()
                        try:
                            outputs = step(**inputs)
                        except AmiError:
                            raise
                        except (Exception, SystemExit) as error:
                            raise self._failed(node, tick, inputs, error) from error
                        end = clock()
                        if not _fits(outputs, expected, judged):
                            self._refuse(node, tick, inputs, outputs)
                        if guard is not None and (changed := guard.changed()):
                            raise PortError(f"at wave {wave}, tick {tick} {node}.step() changed {changed} in place, which "
                                            "others read. Fix: no operation in place on a message; clone() it first")
                        add(node, wave, tick, start, end, outputs)
                    sent[tick] = fired[node] = outputs
                    sent.pop(tick - depth, None)
        finally:  # also if a module fails: the messages before the failure explain it
            self.recorder.keep()
        return fired

    def close(self) -> None:
        """Write the rest of the trace."""
        self.recorder.close()

    def _plan(self, node: str, batch: int) -> _NodePlan:
        module = self.modules[node]
        direct: list[tuple[str, dict[int, Outputs], str]] = []
        late: list[_DelayedInput] = []
        severed: dict[str, Tensor] = {}
        for wire in self.graph.inputs[node]:
            sent = self._sent[wire.node]
            port = module.inputs[wire.to_port]
            fill = torch.full((batch, *port.shape(module.dims)), wire.init, dtype=port.dtype or torch.float32)
            if wire.cut:
                severed[wire.to_port] = fill
            elif wire.delay:
                late.append(_DelayedInput(wire.to_port, sent, wire.port, wire.delay, fill))
            else:
                direct.append((wire.to_port, sent, wire.port))
        wired = {wire.to_port for wire in self.graph.inputs[node]}
        absent: dict[str, Tensor | None] = {**{port: None for port in module.inputs if port not in wired}, **severed}
        before = self._plans.get(node)
        known = {name: dtype for name, _, dtype in before.expected} if before else {}  # a trace keeps one dtype per port
        expected, judged = [], []
        for name, port in module.outputs.items():
            expected.append((name, torch.Size((batch, *port.shape(module.dims))), port.dtype or known.get(name)))
            if port.dtype == torch.float32 and (not port.dims or port.kind == "action"):
                judged.append(name)
        return _NodePlan(module.step, self.graph.every[node], direct, late, absent, self._sent[node], expected, judged)

    def _arriving(self, feed: _DelayedInput, tick: int) -> Tensor:
        sent_at = tick - feed.delay
        if sent_at < 0:
            return feed.fill
        then = feed.sent.get(sent_at)
        if then is None:
            raise WorkerLost(f"{feed.to_port} received no message from tick {sent_at}: its sender failed or died")
        value = then[feed.port]
        return value if sent_at >= self._youngest else self._since_birth(value, feed.fill, sent_at)

    def _failed(self, node: str, tick: int, inputs: Mapping[str, object], error: BaseException) -> ModuleError:
        callee = callee_of(error, node, self.modules)
        within = f", in its call {callee}()" if callee else ""
        given = {name: value for name, value in inputs.items() if value is not None}
        return ModuleError(f"{node}.step() failed at wave {self._wave}, tick {tick}{within}: {raised(error)}. "
                           f"It received {describe(given)}. {FIX}")

    def _refuse(self, node: str, tick: int, inputs: Mapping[str, object], outputs: Any) -> None:
        """Raise a PortError with the first fault of a node's outputs.

        Return if there is none: a sum may overflow although every number is finite.
        """
        module, when = self.modules[node], f"at wave {self._wave}, tick {tick} "
        author = type(module).__name__
        if not isinstance(outputs, Mapping):
            raise PortError(f"{when}{node}.step() gave a {type(outputs).__name__}: expected a dict of its outputs, "
                            f"{{{', '.join(module.outputs)}}}. Fix: return one in {author}.step()")
        for name, port in module.outputs.items():
            port.validate(f"{when}{node}.{name}", outputs.get(name), module.dims, module.batch)
        for name in outputs:
            if name not in module.outputs:
                raise PortError(f"{when}{node}.step() gave '{name}', which is no output port: expected "
                                f"{', '.join(module.outputs)}. Fix: declare the port in {author}.outputs, or leave it out")
        for name, shape, dtype in self._plans[node].expected:
            if outputs[name].dtype is not dtype:
                raise PortError(f"{when}{node}.{name} gave the dtype {outputs[name].dtype}: expected {dtype}, as before. "
                                f"Fix: cast it in {author}.step()")
            if outputs[name].shape != shape:
                raise PortError(f"{when}{node}.{name} gave the shape {tuple(outputs[name].shape)}: expected {tuple(shape)}")
        for name in self._plans[node].judged:
            if not bool(outputs[name].isfinite().all()):
                self._refuse_numbers(node, name, tick, inputs, outputs[name])

    def _refuse_numbers(self, node: str, name: str, tick: int, inputs: Mapping[str, object], value: Tensor) -> None:
        """Raise a PortError with the first message, known here, that held numbers that are not finite."""
        row, found = _not_finite(value)
        where = f"at wave {self._wave}, tick {tick} {node}.{name} is {found} in row {row} (episode {self._numbers[row]})"
        kept = sorted({sent_at for sent in self._sent.values() for sent_at in sent})
        for sent_at in kept:
            for sender in self.graph.order:
                for port, message in self._sent[sender].get(sent_at, {}).items():
                    if isinstance(message, Tensor) and message.is_floating_point() and not bool(message.isfinite().all()):
                        row, found = _not_finite(message)
                        raise PortError(f"{where}: {sender}.{port} was {found} in row {row} before it, at tick {sent_at}. "
                                        f"Fix: guard divisions, roots and logarithms in {self.graph.specs[sender].name}")
        raise PortError(f"{where}: expected finite numbers. It received {describe(inputs)}, all of them finite. "
                        f"Fix: guard divisions, roots and logarithms in {self.graph.specs[node].name}")

    def _since_birth(self, value: Tensor, fill: Tensor, sent_at: int) -> Tensor:
        """Replace a message by the wire's `fill` in rows whose episode began after it was sent."""
        old = (self._born > sent_at).to(value.device).view(-1, *[1] * (value.ndim - 1))
        return torch.where(old, fill.to(value), value)


def _fits(outputs: Any, expected: list[tuple[str, torch.Size, torch.dtype | None]], judged: list[str]) -> bool:
    """Return whether outputs fit their ports. This runs for every node at every tick, so the checks are cheap."""
    try:
        for i, (name, shape, dtype) in enumerate(expected):
            value = outputs[name]
            if value.shape != shape:
                return False
            if value.dtype is not dtype:
                if dtype is not None or not isinstance(value, Tensor):
                    return False
                expected[i] = (name, shape, value.dtype)  # a port of any dtype keeps the first one
        for name in judged:
            value = outputs[name]
            if value.numel() > SMALL:
                total = value.sum().item()
            else:
                total = sum(value.tolist() if value.ndim == 1 else value.flatten().tolist())
            if not math.isfinite(total):
                return False
        return len(outputs) == len(expected)
    except (KeyError, TypeError, AttributeError, IndexError):  # no mapping, no such port, no tensor
        return False


def _not_finite(value: Tensor) -> tuple[int, float]:
    """Return the first row with a number that is not finite, and that number."""
    row, *_ = (~value.isfinite()).nonzero()[0].tolist()
    return row, float(value[row][~value[row].isfinite()].flatten()[0])


def _check_carry(node: str, module: Module) -> None:
    for name, value in module.carry.items():
        if not isinstance(value, Tensor) or not value.ndim or len(value) != module.batch:
            raise PortError(f"{node}: {type(module).__name__}.initial() gave {describe({name: value})}: expected a tensor "
                            f"with {module.batch} rows, one per world. Fix: return it so from initial()")


def build_module(graph: Graph, node: str, seed: int) -> Module:
    """Build one module of the graph; its initial weights depend on the seed and the node's name alone."""
    with blamed(node, f"{graph.specs[node].name}()"):
        module: Module = graph.specs[node].make()
    module.random = RowRNG(seed, node)
    module.every = graph.every[node]
    module.arrivals = {wire.to_port: Arrival(graph.every[wire.node], wire.delay) for wire in graph.inputs[node]
                       if graph.every[wire.node] > 1 and not wire.cut}
    with torch.random.fork_rng(devices=[]), blamed(node, "build()"):
        torch.manual_seed(derive_seed(seed, node, "weights"))
        module.set_up(graph.dims[node], graph.actions.get(node))
    return module


def load_weights(node: str, module: Module, weights: Mapping[str, Tensor]) -> None:
    """Load one node's weights.

    Raises:
        CheckpointError: names or shapes differ from the module's.
    """
    own = module.state_dict()
    wrong = [name for name in own if name not in weights or own[name].shape != weights[name].shape]
    wrong += [name for name in weights if name not in own]
    if wrong:
        raise CheckpointError(
            f"the checkpoint does not fit {node} ({type(module).__name__}): {', '.join(wrong[:3])}"
            f"{' and more' if len(wrong) > 3 else ''} differ in name or shape. "
            f"Fix: retrain this agent, or load it with the settings it was trained with")
    module.load_state_dict(dict(weights))
