"""The ray runtime: the same workers as Ray actors.

Every segment is one remote call per tick. Parcels travel as object references from actor to actor; the driver reads only
the ports it watches. A call edge is served by a replica inside the caller's actor, so planning costs no transport.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ami.agent import flags_of
from ami.blueprint import Episode
from ami.errors import AmiError, WorkerLost
from ami.graph import Graph
from ami.recorder import NoTrace, Recorder
from ami.runtime import ray_cluster  # noqa: F401  (sets Ray's environment before Ray is imported)
from ami.segments import Placement, Segment, cut, groups_of
from ami.tracing.log import TraceLog
from ami.worker import Parcel, Weights, Worker

# isort: split
import ray
from ray.exceptions import RayActorError, RayTaskError

Arrays = dict[str, dict[str, np.ndarray]]


class WorkerActor:
    """A worker in a process of its own: tensors become numpy arrays where they leave it, which Ray moves without copies."""

    def __init__(self, graph: Graph, nodes: Sequence[str], segments: Sequence[Segment], seed: int, weights: Weights | None,
                 trace: Path | None, payload: Collection[str]) -> None:
        torch.set_num_threads(1)
        # received arrays are read-only views into shared memory; modules may not write to their inputs anyway
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        recorder: Recorder = TraceLog(trace, payload) if trace is not None else NoTrace()
        self.worker = Worker(graph, nodes, seed, weights, recorder)
        self.segments = {segment.index: segment for segment in segments}

    def ready(self) -> None:
        """Answers once the modules are made."""

    def begin(self, mask: np.ndarray, episodes: Sequence[Episode], wave: int) -> None:
        """See `Worker.begin`."""
        self.worker.begin(torch.tensor(mask), episodes, wave)

    def fire(self, index: int, tick: int, *parcels: tuple[int, Arrays]) -> tuple[tuple[int, Arrays], dict[str, np.ndarray]]:
        """Fire one segment: what other groups read of it, and what the driver watches."""
        segment = self.segments[index]
        received: list[Parcel] = [(sent_at, {node: {port: torch.from_numpy(array) for port, array in arrays.items()}
                               for node, arrays in contents.items()}) for sent_at, contents in parcels]
        outputs = self.worker.fire(segment.nodes, tick, received)
        parcel = {node: {port: outputs[node][port].cpu().numpy() for port in ports}
                  for node, ports in segment.exports.items()}
        watched = {name: outputs[node][port].cpu().numpy()
                   for name in segment.watched for node, port in (name.split("."),)}
        return (tick, parcel), watched

    def close(self) -> None:
        """Write the rest of the trace."""
        self.worker.close()


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

    The actors start at once and together; `ready` waits for them.

    Raises:
        SettingError: the placement is unsound, or a watched port does not exist.
    """

    def __init__(self, graph: Graph, seed: int = 0, weights: Weights | None = None, placement: Placement = "module",
                 trace: Path | None = None, payload: Collection[str] = (), watch: Sequence[str] = ()) -> None:
        self.graph = graph
        self.segments: Sequence[Segment] = cut(graph, placement, (*flags_of(graph), *watch))
        members: dict[str, list[str]] = {}
        for node, group in groups_of(graph, placement).items():
            members.setdefault(group, []).append(node)
        graph_ref = ray.put(graph)
        self.actors: dict[str, Any] = {}
        # the last two ticks: what failed earlier has made a later tick fail
        self._under_way: deque[Any] = deque(maxlen=2 * len(self.segments))
        for group, nodes in members.items():
            held = {*nodes, *(callee for node in nodes for callee in graph.callees(node))}
            own = {node: dict(state) for node, state in (weights or {}).items() if node in held}
            own_segments = [segment for segment in self.segments if segment.group == group]
            self.actors[group] = ray.remote(num_cpus=0)(WorkerActor).remote(
                graph_ref, nodes, own_segments, seed, own, trace, payload)

    def ready(self) -> None:
        """Wait until every actor has made its modules.

        Raises:
            What a module raises while it is made.
        """
        self._wait([actor.ready.remote() for actor in self.actors.values()])

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        self._wait([actor.begin.remote(mask.numpy(), list(episodes), wave) for actor in self.actors.values()])

    def fire(self, segment: Segment, tick: int, parcels: Sequence[Any]) -> tuple[Any, Any]:
        fire = self.actors[segment.group].fire.options(num_returns=2)
        parcel, watched = fire.remote(segment.index, tick, *parcels)
        self._under_way.append(watched)
        return parcel, watched

    def read(self, handle: Any) -> Mapping[str, Tensor]:
        return {name: torch.from_numpy(np.array(array)) for name, array in self._wait(handle).items()}

    def settle(self) -> None:
        """Wait until all that was fired is done; raises what a module raised in the meantime."""
        under_way, self._under_way = list(self._under_way), deque(maxlen=self._under_way.maxlen)
        self._get(under_way)

    def close(self) -> None:
        """Let every actor that lives write the rest of its trace, then stop them all.

        Raises:
            What went wrong in an actor while it wrote; the others have written theirs by then.
        """
        closing = [actor.close.remote() for actor in self.actors.values()]
        failed: RayTaskError | None = None
        try:
            for ref in closing:
                with contextlib.suppress(RayActorError):  # a dead one has written what it could
                    try:
                        ray.get(ref)
                    except RayTaskError as error:
                        failed = failed or error
        finally:
            for actor in self.actors.values():
                ray.kill(actor)
        if failed is not None:
            raise failed.cause if isinstance(failed.cause, AmiError) else failed

    def _wait(self, refs: Any) -> Any:
        """Wait for results. One that fails may only follow from another that failed before: that one's error is told."""
        try:
            return self._get(refs)
        except Exception:
            self.settle()
            raise

    def _get(self, refs: Any) -> Any:
        """ray.get that raises what the module raised, or says that a process is gone."""
        try:
            return ray.get(refs)
        except RayActorError as error:
            raise _lost(error) from error
        except RayTaskError as error:
            if isinstance(error.cause, RayActorError):  # it died while another was waiting for its parcel
                raise _lost(error.cause) from error
            if isinstance(error.cause, AmiError):
                raise error.cause from None
            raise


def _lost(error: RayActorError) -> WorkerLost:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    return WorkerLost(f"a process that held modules died ({reason}). The trace holds what was written before. "
                      "Fix: run again; if it dies again, runtime=local shows the error where it happens")
