"""The ray runtime: the same workers as Ray actors.

Every segment is one remote call per tick. Parcels are passed between actors as object references; the driver reads only
the ports it watches. A call edge is served by a replica inside the caller's actor, so planning costs no transport.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ami.agent import flags_of
from ami.blueprint import Episode, World
from ami.errors import AmiError
from ami.graph.graph import Graph
from ami.graph.partition import Placement, Segment, cut, groups_of
from ami.runtime.arrays import to_array, to_tensor
from ami.runtime.held_messages import report_held
from ami.runtime.held_modules import Weights, published
from ami.runtime.ray_calls import Call, Recovery
from ami.runtime.ray_cluster import dead_server  # sets Ray's environment before Ray is imported
from ami.runtime.ray_supervisor import Supervisor
from ami.terminal.text import report

# isort: split
import ray
from ray.exceptions import RayError, RayTaskError

TICKS_PER_CALL = 32
"""The number of ticks that an actor runs in one call if it holds the whole graph and the driver needs no tick at once."""
CLOSE_SECONDS = 30.0
"""The time limit of an actor for its last step and the rest of its trace; then it is killed."""
ORPHAN_SECONDS = 3.0
"""The same limit without Ray's server, when most actors cannot be reached."""


@dataclass
class Ahead:
    """A call that runs several ticks.

    Attributes:
        call: the call.
        first: its first tick.
        num_ticks: the ticks that it ran; 0 until its result is fetched, which happens once.
        watched: the watched outputs, (ticks, B, …) by name.
    """

    call: Call
    first: int
    num_ticks: int = 0
    watched: Mapping[str, Tensor] = field(default_factory=dict)


class RayRuntime:
    """One actor per group of nodes.

    Args:
        graph: the checked graph.
        seed: the run's seed.
        weights: trained weights by node.
        placement: "auto", "module", "agent" or {group: [nodes]}, see `ami.graph.partition`.
        trace: the folder of this agent's trace; None records nothing.
        payload: the ports, "node.port", whose messages are recorded in full.
        watch: ports to read besides the world's flags, as "node.port".
        recovery: how the death of a process is outlasted, see `ami.runtime.ray_supervisor`; by default it ends the run.

    An actor that holds the whole graph runs up to `TICKS_PER_CALL` ticks per call.

    All actors start at once; `ready` waits for them. A long wait is reported on stderr, with the node it waits for.

    Raises:
        SettingError: the placement is invalid, or a watched port does not exist.
    """

    def __init__(self, graph: Graph, seed: int = 0, weights: Weights | None = None, placement: Placement = "auto",
                 trace: Path | None = None, payload: Collection[str] = (), watch: Sequence[str] = (),
                 recovery: Recovery | None = None) -> None:
        self.graph = graph
        self.segments: Sequence[Segment] = cut(graph, placement, (*flags_of(graph), *watch))
        self.members: dict[str, list[str]] = {}
        for node, group in groups_of(graph, placement).items():
            if node in graph.fired:
                self.members.setdefault(group, []).append(node)
        graph_ref = ray.put(graph)
        self.recovery = recovery or Recovery()
        self._runs_ahead = len(self.segments) == 1 and len(graph.nodes_of(World)) == 1
        self._last: Ahead | None = None
        self._held: dict[str, set[str]] = {}
        make: dict[str, tuple[Any, ...]] = {}
        for group, nodes in self.members.items():
            held = self._held[group] = {*nodes, *(callee for node in nodes for callee in graph.callees(node))}
            own = {node: dict(state) for node, state in (weights or {}).items() if node in held}
            own_segments = [segment for segment in self.segments if segment.group == group]
            make[group] = (graph_ref, nodes, own_segments, seed, own, trace, payload, self.recovery.restarts > 0)
        ends = frozenset(group for group, nodes in self.members.items()
                         if any(graph.on_failure[node] == "raise" for node in nodes))
        self.supervisor = Supervisor(self.members, make, self.recovery, ends)
        self.actors = self.supervisor.actors

    def ready(self) -> None:
        """Wait until every actor has built its modules.

        Raises:
            The error of a module's construction.
        """
        self.supervisor.ready()

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        self.ready()
        self._last = None
        if bool(mask.all()):
            self.supervisor.begin()
        self.supervisor.wait([self.supervisor.call(group, "begin", mask.numpy(), list(episodes), wave,
                                                   doing=f"to begin wave {wave}") for group in self.members])

    def fire(self, segment: Segment, tick: int, parcels: Sequence[Any], most: int = 1) -> tuple[Any, Any]:
        if self._runs_ahead:
            return None, self._fired_ahead(segment, tick, min(most, TICKS_PER_CALL))
        call = self.supervisor.call(segment.group, "fire", segment.index, tick, *parcels, doing=f"at tick {tick}", returns=2)
        if segment.index == len(self.segments) - 1:
            self.supervisor.forget_done(2 * len(self.segments))
            self.supervisor.ticked(tick)
        return call, call

    def _fired_ahead(self, segment: Segment, tick: int, most: int) -> tuple[Ahead, int]:
        """Return the call that runs a tick of the only segment, and the tick; call the actor if it has not run that far."""
        if self._last is not None and tick < self._last.first + self._fetched(self._last).num_ticks:
            return self._last, tick
        if self._last is not None:
            self.supervisor.ticked(tick - 1)
        call = self.supervisor.call(segment.group, "fire_ahead", segment.index, tick, most,
                                    doing=f"at tick {tick}" + " or later" * (most > 1))
        self.supervisor.forget_done(2 * len(self.segments))
        self._last = Ahead(call, tick)
        return self._last, tick

    def _fetched(self, ahead: Ahead) -> Ahead:
        """Wait for the result of a call, unless it is there."""
        if not ahead.num_ticks:
            ((ahead.num_ticks, arrays),) = self.supervisor.wait([ahead.call])
            ahead.watched = {name: to_tensor(array, copy=True) for name, array in arrays.items()}
        return ahead

    def read(self, handle: Call | tuple[Ahead, int]) -> Mapping[str, Tensor]:
        if not isinstance(handle, Call):
            ahead, tick = handle
            return {name: values[tick - ahead.first] for name, values in self._fetched(ahead).watched.items()}
        (arrays,) = self.supervisor.wait([handle])
        return {name: to_tensor(array, copy=True) for name, array in arrays.items()}

    def publish(self, version: int, weights: Weights) -> None:
        self.ready()
        stored = {node: ray.put({name: to_array(value.cpu()) for name, value in state.items()})
                  for node, state in published(self.graph, weights).items()}
        for is_checked in (False, True):  # no actor loads before all have checked
            calls = []
            for group in self.members:
                nodes = [node for node in stored if node in self._held[group]]
                calls.append(self.supervisor.call(group, "publish", version, nodes, is_checked,
                                                  *(stored[node] for node in nodes), doing=f"to load version {version}"))
            self.supervisor.wait(calls)

    def settle(self) -> None:
        """Wait until every fired segment is done and recorded; raise the error of a module that failed in the meantime."""
        fired = self.supervisor.calls
        self.supervisor.wait(fired)
        if fired:
            for held in self.supervisor.wait([self.supervisor.call(group, "flush", doing="to write its trace")
                                              for group in self.members]):
                report_held(held)

    def close(self) -> None:
        """Let every running actor write the rest of its trace, then stop them all.

        An actor that does not finish within `CLOSE_SECONDS` is killed and reported.

        Raises:
            The error of an actor that failed to write, after the others have written.
        """
        limit = ORPHAN_SECONDS if dead_server() else CLOSE_SECONDS
        closing = {actor.close.remote(): group for group, actor in self.actors.items()}
        failed: RayTaskError | None = None
        try:
            done, hung = ray.wait(list(closing), num_returns=len(closing), timeout=limit)
            for ref in done:
                try:
                    ray.get(ref)
                except RayTaskError as error:
                    failed = failed or error
                except RayError:  # a dead actor has written what it could
                    pass
            for ref in hung:
                names = self.supervisor.names(closing[ref])
                report(f"{names} did not stop within {limit:.0f} s and was killed: it is still in a step, or cut off. Up "
                       "to the last second of its trace is missing")
        finally:
            if not dead_server():  # the server does the killing; without it, Ray's shutdown ends the actors
                for actor in self.actors.values():
                    ray.kill(actor)
        if failed is not None:
            raise failed.cause if isinstance(failed.cause, AmiError) else failed
