"""Worker: holds some nodes of a graph and fires them in order.

In the local runtime one worker holds all nodes; under Ray each actor is a worker. The code is the same, so both runtimes
give the same trace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ami.blueprint import World
from ami.errors import AmiError, PortError, require
from ami.graph.devices import CPU
from ami.graph.faults import blamed
from ami.graph.graph import Graph
from ami.module import Episode
from ami.runtime.checks import Faults, Fit, InPlaceGuard, check_carry
from ami.runtime.held_messages import HeldMessages
from ami.runtime.held_modules import HeldModules, Weights
from ami.runtime.history import WorldHistory, WorldSnapshot, reexecute_world
from ami.runtime.mailbox import Mailbox, Outputs, Parcel
from ami.runtime.recorder import NoTrace, Recorder
from ami.runtime.rows import step_rows


class _NodePlan(NamedTuple):
    """Invocation plan of one node, made once per batch of episodes instead of once per tick.

    Attributes:
        step: the module's step.
        every: ticks between two firings.
        fit: the check of its outputs.
        sent: its recent outputs by tick.
        own: the same on its own device.
        is_away: whether that device is not the CPU.
        is_copied: whether its messages are copied to other devices.
        history: the history of a world; None for other modules.
    """

    step: Callable[..., Outputs]
    every: int
    fit: Fit
    sent: Mapping[int, Outputs]
    own: Mapping[int, Outputs]
    is_away: bool
    is_copied: bool
    history: WorldHistory | None


_Fired = tuple[str, _NodePlan, Mapping[str, Tensor | None], int, int, Outputs, Sequence[int]]
"""node, plan, inputs, start, end, outputs, ages: an invocation that is not checked and recorded yet."""


class Snapshot(NamedTuple):
    """The state of a worker between two firings, as plain values.

    Attributes:
        modules: the carries and random streams, by node.
        worlds: the histories of the worlds, by node.
        mail: the recent messages, and each row's first tick.
        wave: the number of the batch of episodes.
        numbers: the episodes' numbers, by row.
    """

    modules: Mapping[str, Mapping[str, Tensor]]
    worlds: Mapping[str, WorldSnapshot]
    mail: Mapping[str, Any]
    wave: int
    numbers: tuple[int, ...]


class Worker:
    """Some nodes of a graph, built, bound and ready to fire.

    Args:
        graph: the checked graph.
        nodes: the nodes this worker fires.
        seed: the run's seed: initial weights and random streams derive from it.
        weights: trained weights by node; nodes without an entry keep their initial weights.
        recorder: records every invocation.
        history: whether to keep the worlds' histories, which `snapshot` needs; they grow with the length of an episode.
        learning: whether to bind the calls that only learning needs.
    """

    def __init__(self, graph: Graph, nodes: Iterable[str], seed: int, weights: Weights | None = None,
                 recorder: Recorder | None = None, history: bool = False, learning: bool = False) -> None:
        self.graph = graph
        self.nodes = tuple(n for n in graph.order if n in set(nodes))
        self.recorder = recorder or NoTrace()
        self.held = HeldModules(graph, self.nodes, seed, weights, learning)
        self.modules = self.held.modules
        for node in self.nodes:
            self.modules[node].notes = self.recorder.notes(node)
        self.mail = Mailbox(graph)
        self._faults = Faults(graph, self.modules, self.mail)
        self._worlds = tuple(node for node in self.nodes if isinstance(self.modules[node], World))
        self._histories = {node: WorldHistory() for node in self._worlds} if history else {}
        self._plans: dict[str, _NodePlan] = {}
        self._wave = 0
        self.held_messages = HeldMessages(graph, self.nodes)

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        """Start new episodes in the masked rows (B,). Delayed messages from their previous episodes are dropped.

        Raises:
            SettingError: some rows begin while others continue, and a world fires only every few ticks.
            PortError: a module's carry is not a mapping of tensors with one row per world.
            ModuleError: a module's own code failed.
        """
        self._wave = wave
        fresh = len(mask) != len(self.mail.born) or bool(mask.all())
        slow = [node for node in self._worlds if self.graph.every[node] > 1]
        require(fresh or not slow, f"{int(mask.sum())} of {len(mask)} worlds start new episodes, but {', '.join(slow)} "
                                   "fires only every few ticks, for all rows at once. Fix: begin all episodes together")
        for node, module in self.held:
            with blamed(node, f"begin() at wave {wave}"):
                module.begin(mask, episodes)
            check_carry(node, module)
        for history in self._histories.values():
            history.begin(mask, episodes)
        begun = zip(mask.tolist(), episodes, self._faults.numbers or [-1] * len(mask), strict=False)
        self._faults.numbers = [episode.number if new else old for new, episode, old in begun]
        if fresh:
            self._open(len(mask))
        else:
            self.mail.begin(mask)

    def fire(self, nodes: Sequence[str], tick: int, parcels: Sequence[Parcel] = ()) -> dict[str, Outputs]:
        """Fire some nodes for one tick. A node that has fired at this tick does not fire again.

        Args:
            nodes: the nodes, in firing order.
            tick: the number of ticks since the last full reset.
            parcels: outputs that other workers sent since the last call.

        Returns:
            Each node's outputs, on the CPU.

        Raises:
            ModuleError: a module's own code failed.
            PortError: a module's outputs do not fit its ports, or hold numbers that are not finite.
        """
        plans = self._plans
        self.mail.deliver(parcels)
        self.mail.advance(tick)
        sent: dict[str, Outputs] = {}
        fired: list[_Fired] = []
        guarded = self.graph.order[tick % len(self.graph.order)]
        try:
            with torch.no_grad():
                for node in nodes:
                    plan = plans[node]
                    outputs = plan.sent.get(tick)
                    sent[node] = self._fire_node(node, plan, tick, node == guarded, fired) if outputs is None else outputs
        finally:  # also if a module fails: a message before the failure may be its cause, and explains it
            self._settle(tick, fired)
        return sent

    def _fire_node(self, node: str, plan: _NodePlan, tick: int, is_guarded: bool, fired: list[_Fired]) -> Outputs:
        """Step one node and post its outputs; add to `fired` what is left to do, see `_settle`."""
        step, every, fit, sent, own, is_away, is_copied, _ = plan
        rows = before = None
        if every > 1 and (before := own.get(tick - 1)) is not None:  # a node that has sent nothing yet fires for all rows
            rows = self.mail.due(every, tick)
            if rows is not None and not bool(rows.any()):
                self.mail.post(node, tick, sent[tick - 1])
                return sent[tick - 1]
        inputs, ages = self.mail.inputs(node, tick)
        guard = InPlaceGuard(inputs, own.get(tick - 1)) if is_guarded or tick == self.mail.youngest else None
        carry = dict(self.modules[node].carry) if node in self.held_messages else {}
        start = time.perf_counter_ns()
        try:
            outputs = (step(**inputs) if rows is None or before is None else
                       step_rows(self.modules[node], rows, inputs, before))
        except AmiError:
            raise
        except (Exception, SystemExit) as error:
            failed = self._faults.failed(node, self._wave, tick, inputs, error)
            if node not in self.held_messages or tick - 1 not in sent:
                raise failed from error
            self.held_messages.hold(node, self.modules[node], carry, failed)
            self.mail.post(node, tick, sent[tick - 1])
            return sent[tick - 1]
        if is_away:  # waits for the device, so that the time includes its work
            there, outputs = outputs, self._on_cpu(node, outputs)
        end = time.perf_counter_ns()
        fired.append((node, plan, inputs, start, end, outputs, ages))
        if (is_away or is_copied) and not fit(outputs):  # before it is copied
            self._faults.refuse(node, self._wave, tick, inputs, outputs, fit)
        if guard is not None and (changed := guard.changed()):
            raise PortError(f"at wave {self._wave}, tick {tick} {node}.step() changed {changed} in place, but "
                            "other nodes read it. Fix: clone() the message before an operation in place")
        if is_away:
            self.mail.keep(node, tick, there)
        self.mail.post(node, tick, outputs)
        return outputs

    def _settle(self, tick: int, fired: Sequence[_Fired]) -> None:
        """Check and record the invocations of a tick, all together: code that runs once after each module is not in the
        CPU's caches and takes three times as long.

        Raises:
            PortError: the first misfit. The messages from it on are dropped.
        """
        num_settled = 0
        try:
            for node, plan, inputs, start, end, outputs, ages in fired:
                if not plan.fit(outputs):
                    self._faults.refuse(node, self._wave, tick, inputs, outputs, plan.fit)
                self.recorder.add(node, self._wave, tick, start, end, outputs, ages)
                if plan.history is not None:
                    plan.history.add(inputs, outputs)
                num_settled += 1
        finally:
            for node, *_ in fired[num_settled:]:
                self.mail.drop(node, tick)

    def _on_cpu(self, node: str, outputs: Outputs) -> Outputs:
        """Return what a step returned, checked or not, on the CPU; its notes are moved there too."""
        notes = self.modules[node].notes
        if notes is not None:
            notes.update({name: value.cpu() for name, value in notes.items()})
        if not isinstance(outputs, Mapping):
            return outputs
        return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in outputs.items()}

    def load(self, version: int, weights: Weights) -> None:
        """Load published weights into modules and replicas, between two ticks; raises as `HeldModules.load` does.

        Args:
            version: their version, recorded with every later invocation.
            weights: state dicts by node; those of nodes that this worker does not hold are left out.
        """
        self.held.load(version, weights)
        self.recorder.publish(version)

    def snapshot(self) -> Snapshot:
        """Return all state that changes during a run, between two ticks or between two firings of one tick.

        Raises:
            SettingError: the worker has a world and keeps no history.
        """
        require(not self._worlds or bool(self._histories), "a snapshot needs the history of "
                                                           f"{', '.join(self._worlds)}, which was not kept. "
                                                           "Fix: Worker(…, history=True)")
        return Snapshot({node: self.modules[node].snapshot() for node in self.nodes if node not in self._worlds},
                        {node: history.snapshot() for node, history in self._histories.items()},
                        self.mail.snapshot(), self._wave, tuple(self._faults.numbers))

    def restore(self, snapshot: Snapshot) -> None:
        """Restore a worker's snapshot, for the nodes and messages that both workers have.

        Worlds re-execute the recorded actions of their episodes.

        Raises:
            WorldFault: a world's outputs differ from the recorded ones.
            ModuleError: a module's own code failed.
        """
        self._wave, self._faults.numbers = snapshot.wave, list(snapshot.numbers)
        with torch.no_grad():
            for node in self.nodes:
                world = self.modules[node]
                if node in snapshot.modules:
                    with blamed(node, "restore()"):
                        self.modules[node].restore(snapshot.modules[node])
                elif node in snapshot.worlds and isinstance(world, World):
                    with blamed(node, "begin() or step()"):
                        reexecute_world(world, snapshot.worlds[node])
                    if node in self._histories:
                        self._histories[node].restore(snapshot.worlds[node])
        self._open(len(snapshot.numbers))
        self.mail.restore(snapshot.mail)

    def close(self) -> None:
        """Close the worlds, and write the rest of the trace."""
        for module in self.modules.values():
            if isinstance(module, World):
                module.close()
        self.recorder.close()

    def _open(self, batch: int) -> None:
        """Make the mailbox and the invocation plans of a new batch of episodes."""
        self.mail.open({node: self.modules[node].inputs for node in self.nodes}, batch)
        before = {node: plan.fit for node, plan in self._plans.items()}
        self._plans = {node: _NodePlan(module.step, self.graph.every[node], Fit(module, batch, before.get(node)),
                                       self.mail.sent(node), self.mail.own(node), self.graph.devices[node] != CPU,
                                       self.mail.is_copied(node), self._histories.get(node))
                       for node, module in self.modules.items() if node in self.nodes}
