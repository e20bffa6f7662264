"""The ray runtime: the same workers as Ray actors.

Every segment is one remote call per tick. Parcels travel as object references from actor to actor; the driver reads only
the ports it watches. A call edge is served by a replica inside the caller's actor, so planning costs no transport.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ami.agent import flags_of
from ami.blueprint import Episode
from ami.errors import AmiError, WorkerLost
from ami.graph.graph import Graph
from ami.graph.partition import Placement, Segment, cut, groups_of
from ami.runtime.ray_cluster import dead_server  # sets Ray's environment before Ray is imported
from ami.runtime.recorder import NoTrace, Recorder
from ami.runtime.worker import Parcel, Weights, Worker
from ami.terminal.text import report
from ami.trace.log import TraceLog

# isort: split
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

Arrays = dict[str, dict[str, np.ndarray]]

LOOK_SECONDS = 1.0
"""How often a wait looks whether Ray's servers are alive."""
NOTICE_SECONDS = 30.0
"""A wait that lasts longer is reported, then again after twice as long."""
CLOSE_SECONDS = 30.0
"""How long an actor may take for its last step and the rest of its trace before it is killed."""
ORPHAN_SECONDS = 3.0
"""The same without Ray's server: most actors cannot be reached then."""


class WorkerActor:
    """A worker in a process of its own: tensors become numpy arrays where they leave it, which Ray moves without copies."""

    worker: Worker | None = None

    def make(self, graph: Graph, nodes: Sequence[str], segments: Sequence[Segment], seed: int, weights: Weights | None,
             trace: Path | None, payload: Collection[str]) -> None:
        """Make the modules: a call of its own, since what a constructor of an actor raises reaches the driver as text."""
        torch.set_num_threads(1)
        # received arrays are read-only views into shared memory; modules may not write to their inputs anyway
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        recorder: Recorder = TraceLog(trace, payload) if trace is not None else NoTrace()
        self.worker = Worker(graph, nodes, seed, weights, recorder)
        self.segments = {segment.index: segment for segment in segments}

    def begin(self, mask: np.ndarray, episodes: Sequence[Episode], wave: int) -> None:
        """See `Worker.begin`."""
        assert self.worker is not None  # the runtime waits for `make`
        self.worker.begin(torch.tensor(mask), episodes, wave)

    def fire(self, index: int, tick: int, *parcels: tuple[int, Arrays]) -> tuple[tuple[int, Arrays], dict[str, np.ndarray]]:
        """Fire one segment: what other groups read of it, and what the driver watches."""
        assert self.worker is not None
        segment = self.segments[index]
        received: list[Parcel] = [(sent_at, {node: {port: torch.from_numpy(array) for port, array in arrays.items()}
                               for node, arrays in contents.items()}) for sent_at, contents in parcels]
        outputs = self.worker.fire(segment.nodes, tick, received)
        parcel = {node: {port: outputs[node][port].detach().cpu().numpy() for port in ports}
                  for node, ports in segment.exports.items()}
        watched = {name: outputs[node][port].detach().cpu().numpy()
                   for name in segment.watched for node, port in (name.split("."),)}
        return (tick, parcel), watched

    def close(self) -> None:
        """Write the rest of the trace."""
        if self.worker is not None:  # its modules could be made
            self.worker.close()


class Pending(NamedTuple):
    """A remote call under way: its result, the actor's group, and what it does, in words."""

    ref: Any
    group: str
    doing: str


class RayRuntime:
    """One actor per group of nodes.

    Args:
        graph: the sound graph.
        seed: the run's seed.
        weights: trained weights by node.
        placement: "module", "agent" or {group: [nodes]}.
        trace: the folder of this agent's trace; None records nothing.
        payload: the ports, "node.port", whose messages are recorded byte by byte.
        watch: ports to see besides the world's flags, as "node.port".

    The actors start at once and together; `ready` waits for them. A wait that lasts is reported on stderr, with the node it
    waits for.

    Raises:
        SettingError: the placement is unsound, or a watched port does not exist.
    """

    def __init__(self, graph: Graph, seed: int = 0, weights: Weights | None = None, placement: Placement = "module",
                 trace: Path | None = None, payload: Collection[str] = (), watch: Sequence[str] = ()) -> None:
        self.graph = graph
        self.segments: Sequence[Segment] = cut(graph, placement, (*flags_of(graph), *watch))
        self.members: dict[str, list[str]] = {}
        for node, group in groups_of(graph, placement).items():
            self.members.setdefault(group, []).append(node)
        graph_ref = ray.put(graph)
        self.actors: dict[str, Any] = {}
        # the last two ticks: what failed earlier has made a later tick fail
        self._under_way: deque[Pending] = deque(maxlen=2 * len(self.segments))
        self._made: list[Pending] = []
        self._looked = monotonic()
        for group, nodes in self.members.items():
            held = {*nodes, *(callee for node in nodes for callee in graph.callees(node))}
            own = {node: dict(state) for node, state in (weights or {}).items() if node in held}
            own_segments = [segment for segment in self.segments if segment.group == group]
            actor: Any = ray.remote(num_cpus=0)(WorkerActor).remote()
            self.actors[group] = actor
            made = actor.make.remote(graph_ref, nodes, own_segments, seed, own, trace, payload)
            self._made.append(Pending(made, group, "to be made"))

    def ready(self) -> None:
        """Wait until every actor has made its modules.

        Raises:
            What a module raises while it is made.
        """
        made, self._made = self._made, []
        self._wait(made)

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        self.ready()
        self._wait([Pending(actor.begin.remote(mask.numpy(), list(episodes), wave), group, f"to begin wave {wave}")
                    for group, actor in self.actors.items()])

    def fire(self, segment: Segment, tick: int, parcels: Sequence[Any]) -> tuple[Any, Any]:
        fire = self.actors[segment.group].fire.options(num_returns=2)
        parcel, watched = fire.remote(segment.index, tick, *parcels)
        call = Pending(watched, segment.group, f"at tick {tick}")
        self._under_way.append(call)
        return parcel, call

    def read(self, handle: Pending) -> Mapping[str, Tensor]:
        (arrays,) = self._wait([handle])
        return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}

    def settle(self) -> None:
        """Wait until all that was fired is done; raises what a module raised in the meantime."""
        under_way, self._under_way = list(self._under_way), deque(maxlen=self._under_way.maxlen)
        self._get(under_way)

    def close(self) -> None:
        """Let every actor that lives write the rest of its trace, then stop them all.

        An actor that does not come to it within `CLOSE_SECONDS` is killed, and reported.

        Raises:
            What went wrong in an actor while it wrote; the others have written theirs by then.
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
                except RayError:  # a dead one has written what it could
                    pass
            for ref in hung:
                report(f"{self._names(closing[ref])} did not stop within {limit:.0f} s and was killed: it is still in a "
                       "step, or cut off. Up to the last second of its trace is missing")
        finally:
            if not dead_server():  # it is what kills; without it, Ray's own end takes the actors along
                for actor in self.actors.values():
                    ray.kill(actor)
        if failed is not None:
            raise failed.cause if isinstance(failed.cause, AmiError) else failed

    def _wait(self, calls: Sequence[Pending]) -> list[Any]:
        """Wait for results. One that fails may only follow from another that failed before: that one's error is raised."""
        try:
            return self._get(calls)
        except Exception:
            self.settle()
            raise

    def _get(self, calls: Sequence[Pending]) -> list[Any]:
        """ray.get that raises what the module raised, or says which process is gone."""
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
            if isinstance(error.cause, RayActorError):  # it died while another was waiting for its parcel
                raise self._lost(error.cause, calls) from error
            if isinstance(error.cause, AmiError):
                raise error.cause from error
            raise

    def _look(self) -> None:
        """Ray goes on without its server for a minute, and then ends this process: say so while there is time to write."""
        if monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = monotonic()
        server = dead_server()
        if server:
            raise WorkerLost(f"Ray's {server} died: it was killed, or the machine is out of memory. The trace holds what "
                             "was written before. Fix: run again, or in this process with runtime=local")

    def _report_wait(self, calls: Sequence[Pending], seconds: float) -> None:
        """Name the first call that is not done: in firing order, all later ones wait for it."""
        calls = [*self._under_way, *calls]
        _, waiting = ray.wait([call.ref for call in {call.ref: call for call in calls}.values()],
                              num_returns=len({call.ref for call in calls}), timeout=0)
        for call in calls:
            if call.ref in waiting:
                report(f"waiting for {self._names(call.group)} {call.doing} for {seconds:.0f} s; its process is alive. "
                       "Ctrl-C stops the run and keeps what is written")
                return

    def _lost(self, error: RayActorError, calls: Sequence[Pending]) -> WorkerLost:
        group = next((name for name, actor in self.actors.items() if actor._actor_id.hex() == error.actor_id), "")
        # the last thing that it was asked for and did not answer
        asked = [call for call in (*self._under_way, *calls) if call.group == group and _is_unanswered(call)]
        when = f" {asked[0].doing}" if asked else ""
        reason = " ".join(str(error).split())
        detail = reason.partition("Worker exit detail: ")[2] or reason
        if "connection error code 2" in detail or not detail:
            detail = ("killed by kill -9 or for want of memory, or ended by its own code, with os._exit() or a crash in "
                      "compiled code")
        return WorkerLost(f"the process of {self._names(group) or 'some modules'} died{when}: {detail}. The trace holds "
                          "what was written before. Fix: run again; if it dies again, runtime=local shows where it happens")

    def _names(self, group: str) -> str:
        return ", ".join(self.members.get(group, ()))


def _is_unanswered(call: Pending) -> bool:
    try:
        ray.get(call.ref, timeout=0)
    except RayError:
        return True
    return False
