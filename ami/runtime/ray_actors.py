"""The ray runtime: the same workers as Ray actors.

Every segment is one remote call per tick. Parcels are passed between actors as object references; the driver reads only
the ports it watches. A call edge is served by a replica inside the caller's actor, so planning costs no transport.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from torch import Tensor

from ami.agent import flags_of
from ami.blueprint import Episode, World
from ami.errors import AmiError, WorkerLost
from ami.graph.graph import Graph
from ami.graph.partition import Placement, Segment, cut, groups_of
from ami.runtime.arrays import to_array, to_tensor
from ami.runtime.held_modules import Weights, published
from ami.runtime.ray_cluster import dead_server  # sets Ray's environment before Ray is imported
from ami.runtime.ray_worker import WorkerActor
from ami.terminal.text import report

# isort: split
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

TICKS_PER_CALL = 32
"""The number of ticks that an actor runs in one call if it holds the whole graph and the driver needs no tick at once."""
LOOK_SECONDS = 1.0
"""The interval at which a wait checks that Ray's servers are alive."""
NOTICE_SECONDS = 30.0
"""A longer wait is reported, and reported again whenever it has doubled."""
CLOSE_SECONDS = 30.0
"""The time limit of an actor for its last step and the rest of its trace; then it is killed."""
ORPHAN_SECONDS = 3.0
"""The same limit without Ray's server, when most actors cannot be reached."""


class Pending(NamedTuple):
    """A running remote call: its result, the actor's group, and a description for messages."""

    ref: Any
    group: str
    doing: str


@dataclass
class Ahead:
    """A call that runs several ticks.

    Attributes:
        call: the call.
        first: its first tick.
        num_ticks: the ticks that it ran; 0 until its result is fetched, which happens once.
        watched: the watched outputs, (ticks, B, …) by name.
    """

    call: Pending
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

    An actor that holds the whole graph runs up to `TICKS_PER_CALL` ticks per call.

    All actors start at once; `ready` waits for them. A long wait is reported on stderr, with the node it waits for.

    Raises:
        SettingError: the placement is invalid, or a watched port does not exist.
    """

    def __init__(self, graph: Graph, seed: int = 0, weights: Weights | None = None, placement: Placement = "auto",
                 trace: Path | None = None, payload: Collection[str] = (), watch: Sequence[str] = ()) -> None:
        self.graph = graph
        self.segments: Sequence[Segment] = cut(graph, placement, (*flags_of(graph), *watch))
        self.members: dict[str, list[str]] = {}
        for node, group in groups_of(graph, placement).items():
            if node in graph.fired:
                self.members.setdefault(group, []).append(node)
        graph_ref = ray.put(graph)
        self.actors: dict[str, Any] = {}
        # the last two ticks: a later failure may follow from an earlier one
        self._under_way: deque[Pending] = deque(maxlen=2 * len(self.segments))
        self._made: list[Pending] = []
        self._looked = monotonic()
        self._runs_ahead = len(self.segments) == 1 and len(graph.nodes_of(World)) == 1
        self._last: Ahead | None = None
        self._held: dict[str, set[str]] = {}
        for group, nodes in self.members.items():
            held = self._held[group] = {*nodes, *(callee for node in nodes for callee in graph.callees(node))}
            own = {node: dict(state) for node, state in (weights or {}).items() if node in held}
            own_segments = [segment for segment in self.segments if segment.group == group]
            actor: Any = ray.remote(num_cpus=0)(WorkerActor).remote()
            self.actors[group] = actor
            made = actor.make.remote(graph_ref, nodes, own_segments, seed, own, trace, payload)
            self._made.append(Pending(made, group, "to be made"))

    def ready(self) -> None:
        """Wait until every actor has built its modules.

        Raises:
            The error of a module's construction.
        """
        made, self._made = self._made, []
        self._wait(made)

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        self.ready()
        self._last = None
        self._wait([Pending(actor.begin.remote(mask.numpy(), list(episodes), wave), group, f"to begin wave {wave}")
                    for group, actor in self.actors.items()])

    def fire(self, segment: Segment, tick: int, parcels: Sequence[Any], most: int = 1) -> tuple[Any, Any]:
        if self._runs_ahead:
            return None, self._fired_ahead(segment, tick, min(most, TICKS_PER_CALL))
        fire = self.actors[segment.group].fire.options(num_returns=2)
        parcel, watched = fire.remote(segment.index, tick, *parcels)
        call = Pending(watched, segment.group, f"at tick {tick}")
        self._under_way.append(call)
        return parcel, call

    def _fired_ahead(self, segment: Segment, tick: int, most: int) -> tuple[Ahead, int]:
        """Return the call that runs a tick of the only segment, and the tick; call the actor if it has not run that far."""
        if self._last is not None and tick < self._last.first + self._fetched(self._last).num_ticks:
            return self._last, tick
        ref = self.actors[segment.group].fire_ahead.remote(segment.index, tick, most)
        call = Pending(ref, segment.group, f"at tick {tick}" + " or later" * (most > 1))
        self._under_way.append(call)
        self._last = Ahead(call, tick)
        return self._last, tick

    def _fetched(self, ahead: Ahead) -> Ahead:
        """Wait for the result of a call, unless it is there."""
        if not ahead.num_ticks:
            ((ahead.num_ticks, arrays),) = self._wait([ahead.call])
            ahead.watched = {name: to_tensor(array, copy=True) for name, array in arrays.items()}
        return ahead

    def read(self, handle: Pending | tuple[Ahead, int]) -> Mapping[str, Tensor]:
        if not isinstance(handle, Pending):
            ahead, tick = handle
            return {name: values[tick - ahead.first] for name, values in self._fetched(ahead).watched.items()}
        (arrays,) = self._wait([handle])
        return {name: to_tensor(array, copy=True) for name, array in arrays.items()}

    def publish(self, version: int, weights: Weights) -> None:
        self.ready()
        stored = {node: ray.put({name: to_array(value.cpu()) for name, value in state.items()})
                  for node, state in published(self.graph, weights).items()}
        for is_checked in (False, True):  # no actor loads before all have checked
            calls = []
            for group, actor in self.actors.items():
                nodes = [node for node in stored if node in self._held[group]]
                ref = actor.publish.remote(version, nodes, is_checked, *(stored[node] for node in nodes))
                calls.append(Pending(ref, group, f"to load version {version}"))
            self._wait(calls)

    def settle(self) -> None:
        """Wait until every fired segment is done; raise the error of a module that failed in the meantime."""
        under_way, self._under_way = list(self._under_way), deque(maxlen=self._under_way.maxlen)
        self._get(under_way)

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
                report(f"{self._names(closing[ref])} did not stop within {limit:.0f} s and was killed: it is still in a "
                       "step, or cut off. Up to the last second of its trace is missing")
        finally:
            if not dead_server():  # the server does the killing; without it, Ray's shutdown ends the actors
                for actor in self.actors.values():
                    ray.kill(actor)
        if failed is not None:
            raise failed.cause if isinstance(failed.cause, AmiError) else failed

    def _wait(self, calls: Sequence[Pending]) -> list[Any]:
        """Wait for results. If one fails because of an earlier failure, raise the earlier error."""
        try:
            return self._get(calls)
        except Exception:
            self.settle()
            raise

    def _get(self, calls: Sequence[Pending]) -> list[Any]:
        """Call ray.get; raise the module's own error, or WorkerLost with the nodes of a dead process."""
        refs, begun, notice = [call.ref for call in calls], monotonic(), NOTICE_SECONDS
        try:
            while True:
                self._look()
                try:
                    found: list[Any] = ray.get(refs, timeout=LOOK_SECONDS)
                    return found
                except GetTimeoutError:
                    if monotonic() - begun > notice:
                        notice *= 2
                        self._report_wait(calls, monotonic() - begun)
        except RayActorError as error:
            raise self._lost(error, calls) from error
        except RayTaskError as error:
            if isinstance(error.cause, RayActorError):  # it died while another actor waited for its parcel
                raise self._lost(error.cause, calls) from error
            if isinstance(error.cause, AmiError):
                raise error.cause from error
            raise

    def _look(self) -> None:
        """Raise WorkerLost if a server of Ray died: a minute later Ray ends this process, and the trace must be written."""
        if monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = monotonic()
        server = dead_server()
        if server:
            raise WorkerLost(f"Ray's {server} died: it was killed, or the machine is out of memory. The trace up to then "
                             "is kept. Fix: run again, or in this process with runtime=local")

    def _report_wait(self, calls: Sequence[Pending], seconds: float) -> None:
        """Report the first call that is not done: in firing order, all later ones wait for it."""
        calls = [*self._under_way, *calls]
        _, waiting = ray.wait([call.ref for call in {call.ref: call for call in calls}.values()],
                              num_returns=len({call.ref for call in calls}), timeout=0)
        for call in calls:
            if call.ref in waiting:
                report(f"waiting for {self._names(call.group)} {call.doing} for {seconds:.0f} s; its process is alive. "
                       "Ctrl-C stops the run and keeps the trace so far")
                return

    def _lost(self, error: RayActorError, calls: Sequence[Pending]) -> WorkerLost:
        group = next((name for name, actor in self.actors.items() if actor._actor_id.hex() == error.actor_id), "")
        # its first call without a result
        open_calls = [call for call in (*self._under_way, *calls) if call.group == group and _is_unanswered(call)]
        when = f" {open_calls[0].doing}" if open_calls else ""
        reason = " ".join(str(error).split())
        detail = reason.partition("Worker exit detail: ")[2] or reason
        if "connection error code 2" in detail or not detail:
            detail = ("killed by kill -9 or for lack of memory, or ended by its own code, with os._exit() or a crash in "
                      "compiled code")
        return WorkerLost(f"the process of {self._names(group) or 'some modules'} died{when}: {detail}. The trace up to "
                          "then is kept. Fix: run again; if it dies again, runtime=local shows where it happens")

    def _names(self, group: str) -> str:
        return ", ".join(self.members.get(group, ()))


def _is_unanswered(call: Pending) -> bool:
    try:
        ray.get(call.ref, timeout=0)
    except RayError:
        return True
    return False
