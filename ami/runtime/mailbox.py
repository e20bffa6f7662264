"""Mailbox: the recent messages of a worker's nodes, and the rule that determines the message that an input receives.

The rule is that of a synchronous graph: an input receives the message that its wire's sender sent `delay` ticks ago. A row
whose episode began after that tick receives the wire's initial value.

Every message is kept on the CPU. If a receiver runs on another device, the message is copied there when it is posted. The
wires decide this when a batch of episodes begins; no tensor is inspected at a tick. Control ports receive no copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ami.errors import WorkerLost
from ami.graph.devices import CPU
from ami.graph.graph import Graph
from ami.graph.wiring import Wire
from ami.ports import CONTROL, Port

Outputs = Mapping[str, Tensor]
Parcel = tuple[int, Mapping[str, Outputs]]
"""Outputs sent to other workers: the tick, and outputs by node."""
NEVER = -1
"""The age of an initial value, which was never sent."""


class _Source(NamedTuple):
    """The source of one input.

    Attributes:
        to_port: the input.
        sent: the sender's outputs by tick, on the receiver's device.
        port: the sender's port.
        delay: in ticks.
        fill: the initial value, (B, …).
        every: ticks between two firings of the sender.
    """

    to_port: str
    sent: dict[int, Outputs]
    port: str
    delay: int
    fill: Tensor
    every: int


class _Inputs(NamedTuple):
    """The inputs of one node.

    Attributes:
        constant: the inputs without a wire, and those of cut wires.
        sources: the others.
        delays: of the sources, by source; these are the ages of the messages, unless a sender is slow.
        steady: the longest delay: no initial value is needed once every episode has this age. None if a sender is slow.
    """

    constant: dict[str, Tensor | None]
    sources: list[_Source]
    delays: tuple[int, ...]
    steady: int | None


class _Copies(NamedTuple):
    """Copies of one node's messages on a device.

    Attributes:
        ports: the ports that are read there.
        sent: the outputs by tick.
    """

    ports: list[str]
    sent: dict[int, Outputs]


class Mailbox:
    """The recent messages of all nodes whose outputs a worker's nodes read.

    Args:
        graph: the checked graph.

    Attributes:
        depth: the number of ticks that messages are kept.
        born: each row's first tick, (B,).
        youngest: the latest of these ticks.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.depth = 1 + max((wire.delay for wire in graph.wires), default=0)
        self._sent: dict[str, dict[int, Outputs]] = {node: {} for node in graph.order}
        self._copies: dict[str, dict[torch.device, _Copies]] = {}
        self._inputs: dict[str, _Inputs] = {}
        self._begun: Tensor | None = None
        self.born = torch.zeros(0, dtype=torch.int64)
        self.youngest = 0

    # Episodes --------------------------------------------------------------------------------------------------------

    def open(self, inputs: Mapping[str, Mapping[str, Port]], batch: int) -> None:
        """Drop every message and prepare for these nodes' inputs in `batch` rows that all begin at tick 0."""
        for sent in self._sent.values():
            sent.clear()
        self.born, self.youngest, self._begun = torch.zeros(batch, dtype=torch.int64), 0, None
        self._inputs, self._copies = {}, {}
        for node in inputs:
            device = self._graph.devices[node]
            if device != CPU:  # `keep` stores its outputs there before `post`
                self._copies.setdefault(node, {})[device] = _Copies(list(self._graph.outputs[node]), {})
        for node, ports in inputs.items():
            constant: dict[str, Tensor | None] = dict.fromkeys(ports)
            sources = []
            for wire in self._graph.inputs[node]:
                port = ports[wire.to_port]
                device = CPU if port.kind in CONTROL else self._graph.devices[node]
                fill = torch.full((batch, *port.shape(self._graph.dims[node])), wire.init, dtype=port.dtype or torch.float32,
                                  device=device)
                if wire.cut:
                    constant[wire.to_port] = fill
                else:
                    del constant[wire.to_port]
                    sent = self._sent[wire.node] if device == CPU else self._copied(wire, device)
                    sources.append(_Source(wire.to_port, sent, wire.port, wire.delay, fill, self._graph.every[wire.node]))
            delays = tuple(source.delay for source in sources)
            is_slow = any(source.every > 1 for source in sources)
            self._inputs[node] = _Inputs(constant, sources, delays, None if is_slow else max(delays, default=0))

    def _copied(self, wire: Wire, device: torch.device) -> dict[int, Outputs]:
        """Have a wire's messages copied to a device; return the copies by tick."""
        copies = self._copies.setdefault(wire.node, {}).setdefault(device, _Copies([], {}))
        if wire.port not in copies.ports:
            copies.ports.append(wire.port)
        return copies.sent

    def begin(self, mask: Tensor) -> None:
        """Start new episodes in the masked rows (B,) at the tick of the next `advance`."""
        self._begun = mask if self._begun is None else mask | self._begun

    def advance(self, tick: int) -> None:
        """Go to a tick: the rows masked by `begin` have it as their first."""
        if self._begun is not None:
            self.born = torch.where(self._begun, tick, self.born)
            self.youngest, self._begun = tick, None

    def due(self, every: int, tick: int) -> Tensor | None:
        """Return the rows (B,) for which a node with `every` > 1 fires at a tick; None for all rows.

        Ticks are counted from the first tick of each row's episode.
        """
        if not self.youngest:
            return None if tick % every == 0 else torch.zeros(len(self.born), dtype=torch.bool)
        rows = (tick - self.born) % every == 0
        return None if bool(rows.all()) else rows

    # Messages --------------------------------------------------------------------------------------------------------

    def deliver(self, parcels: Sequence[Parcel]) -> None:
        """Store the outputs that other workers sent."""
        for sent_at, contents in parcels:
            for node, outputs in contents.items():
                self.post(node, sent_at, outputs)

    def post(self, node: str, tick: int, outputs: Outputs) -> None:
        """Store a node's outputs of a tick, on the CPU, and drop those that no wire reads any more."""
        sent = self._sent[node]
        sent[tick] = outputs
        sent.pop(tick - self.depth, None)
        if node in self._copies:
            self._copy(node, tick, outputs)

    def drop(self, node: str, tick: int) -> None:
        """Drop a node's outputs of a tick, if it has posted them."""
        self._sent[node].pop(tick, None)
        for copies in self._copies.get(node, {}).values():
            copies.sent.pop(tick, None)

    def is_copied(self, node: str) -> bool:
        """Return whether a node's messages are copied to other devices."""
        return node in self._copies

    def _copy(self, node: str, tick: int, outputs: Outputs) -> None:
        """Copy a message to the devices where it is read; a repeated message is not copied again."""
        is_repeated = self._sent[node].get(tick - 1) is outputs
        for device, (ports, sent) in self._copies[node].items():
            if is_repeated and tick - 1 in sent:
                sent[tick] = sent[tick - 1]
            elif tick not in sent:
                sent[tick] = {port: outputs[port].to(device) for port in ports}
            sent.pop(tick - self.depth, None)

    def keep(self, node: str, tick: int, outputs: Outputs) -> None:
        """Keep outputs on their node's own device, which is not the CPU; `post` follows with those on the CPU."""
        device = self._graph.devices[node]
        ports, sent = self._copies[node][device]
        sent[tick] = {port: outputs[port].to(device) for port in ports}

    def own(self, node: str) -> Mapping[int, Outputs]:
        """Return the recent outputs of a node that fires here by tick, on its own device; `post` updates it."""
        device = self._graph.devices[node]
        return self._sent[node] if device == CPU else self._copies[node][device].sent

    def sent(self, node: str) -> dict[int, Outputs]:
        """Return a node's recent outputs by tick, on the CPU; `post` updates it."""
        return self._sent[node]

    def inputs(self, node: str, tick: int) -> tuple[dict[str, Tensor | None], tuple[int, ...]]:
        """Return the inputs of a node at a tick, and the age of the message of each of its wires, in ticks.

        Raises:
            WorkerLost: a sender has sent nothing: it failed or died.
        """
        constant, sources, delays, steady = self._inputs[node]
        values = constant.copy()
        try:
            if steady is not None and tick - steady >= self.youngest:  # most ticks
                for to_port, sent, port, delay, _, _ in sources:
                    values[to_port] = sent[tick - delay][port]
                return values, delays
            ages = []
            for source in sources:
                to_port, delay = source.to_port, source.delay
                values[to_port], then = self._read(source, tick)
                ages.append(NEVER if then < 0 else tick - then)
        except KeyError:
            raise WorkerLost(f"{node}.{to_port} received no message from tick {tick - delay}: its sender failed or "
                             "died") from None
        return values, tuple(ages)

    def _read(self, source: _Source, tick: int) -> tuple[Tensor, int]:
        """Return the message that an input receives at a tick, and the tick at which it was sent."""
        _, sent, port, delay, fill, every = source
        then = tick - delay
        if then < 0:
            return fill, NEVER
        value = sent[then][port]
        if then < self.youngest:
            old = (self.born > then).to(value.device).view(-1, *[1] * (value.ndim - 1))
            value = torch.where(old, fill.to(value), value)
        return value, then if every == 1 else self._fired(every, then)

    def _fired(self, every: int, tick: int) -> int:
        """Return the last tick, up to `tick`, at which a node with `every` > 1 fired for at least one row."""
        if not self.youngest:
            return tick - tick % every
        ages = (tick - self.born)[self.born <= tick] % every
        return tick - int(ages.min()) if len(ages) else NEVER

    def kept(self) -> dict[int, dict[str, Outputs]]:
        """Return the recent messages by tick and node."""
        ticks = sorted({tick for sent in self._sent.values() for tick in sent})
        return {tick: {node: sent[tick] for node, sent in self._sent.items() if tick in sent} for tick in ticks}

    # Snapshots -------------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return copies of the recent messages and of each row's first tick."""
        return {"sent": {node: {tick: {port: value.clone() for port, value in outputs.items()}
                                for tick, outputs in sent.items()} for node, sent in self._sent.items()},
                "born": self.born.clone(), "youngest": self.youngest,
                "begun": None if self._begun is None else self._begun.clone()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Restore what `snapshot()` returned."""
        for node, sent in snapshot["sent"].items():
            if node in self._sent:
                self._sent[node].update(sent)
                for tick in sorted(sent) if node in self._copies else ():
                    self._copy(node, tick, sent[tick])
        self.born, self.youngest, self._begun = snapshot["born"], snapshot["youngest"], snapshot["begun"]
