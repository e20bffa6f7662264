"""The worker of a Ray actor: tensors arrive and leave as numpy arrays, which Ray moves without copies.

`ami.runtime.ray_actors` starts it; this file needs no Ray.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ami.blueprint import Episode, World
from ami.errors import WorkerLost
from ami.graph.graph import Graph
from ami.graph.partition import Segment
from ami.rollout import is_over
from ami.runtime.arrays import Array, to_array, to_tensor
from ami.runtime.held_messages import Held
from ami.runtime.held_modules import Weights
from ami.runtime.history import PackedSteps, pack, unpack
from ami.runtime.mailbox import Outputs, Parcel
from ami.runtime.recorder import NoTrace, Recorder
from ami.runtime.worker import Snapshot, Worker
from ami.trace.finish import finish_file
from ami.trace.log import TraceLog

Arrays = dict[str, dict[str, Array]]


class NotMade(WorkerLost):
    """The process was started again and holds no modules yet."""


class WorkerActor:
    """A worker in its own process, driven by `ami.runtime.ray_actors.RayRuntime`."""

    _worker: Worker | None = None

    @property
    def worker(self) -> Worker:
        """The worker; raises NotMade before `make`."""
        if self._worker is None:
            raise NotMade("this process was started again and holds no modules")
        return self._worker

    def make(self, graph: Graph, nodes: Sequence[str], segments: Sequence[Segment], seed: int, weights: Weights | None,
             trace: Path | None, payload: Collection[str], is_supervised: bool = False, again: bool = False) -> None:
        """Build the modules: a separate call, since an error in an actor's constructor reaches the driver as text only.

        Args:
            graph: the checked graph.
            nodes: the nodes that fire here.
            segments: those of this process.
            seed: the run's seed.
            weights: trained weights by node.
            trace: the folder of the agent's trace; None records nothing.
            payload: the ports whose messages are recorded in full.
            is_supervised: whether snapshots are taken.
            again: whether another process has held these nodes, and died.
        """
        torch.set_num_threads(1)
        # received arrays are read-only views into shared memory; modules must not write to their inputs anyway
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        if self._worker is not None:  # the process lives: it could only not be reached
            self._worker.close()
        if again and trace is not None:
            for node in nodes:
                for path in sorted(trace.glob(f"{node}.*.arrow")):
                    finish_file(path, trace)
        recorder: Recorder = TraceLog(trace, payload) if trace is not None else NoTrace()
        self._worker = Worker(graph, nodes, seed, weights, recorder, history=is_supervised)
        self.segments = {segment.index: segment for segment in segments}

    def begin(self, mask: np.ndarray, episodes: Sequence[Episode], wave: int) -> None:
        """See `Worker.begin`."""
        self.worker.begin(torch.tensor(mask), episodes, wave)

    def fire(self, index: int, tick: int, *parcels: tuple[int, Arrays]) -> tuple[tuple[int, Arrays], dict[str, Array]]:
        """Fire one segment; return its parcel for other groups, and the outputs that the driver watches."""
        outputs = self._fire(index, tick, parcels)
        segment = self.segments[index]
        parcel = {node: {port: to_array(outputs[node][port]) for port in ports}
                  for node, ports in segment.exports.items()}
        return (tick, parcel), {name: to_array(value) for name, value in self._watched(segment, outputs).items()}

    def _fire(self, index: int, tick: int, parcels: Sequence[tuple[int, Arrays]] = ()) -> dict[str, Outputs]:
        received: list[Parcel] = [(sent_at, {node: {port: to_tensor(array) for port, array in arrays.items()}
                               for node, arrays in contents.items()}) for sent_at, contents in parcels]
        return self.worker.fire(self.segments[index].nodes, tick, received)

    def _watched(self, segment: Segment, outputs: Mapping[str, Outputs]) -> dict[str, Tensor]:
        return {name: outputs[node][port] for name in segment.watched for node, port in (name.split("."),)}

    def fire_ahead(self, index: int, tick: int, most: int) -> tuple[int, dict[str, Array]]:
        """Fire a segment that holds the whole graph for up to `most` ticks; stop at a tick at which an episode ends.

        Returns:
            The number of ticks, and the outputs that the driver watches, (ticks, B, …): one array per port, since Ray takes
            longer for many small arrays than a tick takes.
        """
        sent = self.worker.mail.sent(self.worker.graph.the(World))
        found: list[dict[str, Tensor]] = []
        before = is_over(sent[tick - 1]) if tick - 1 in sent else None
        for now in range(tick, tick + most):
            found.append(self._watched(self.segments[index], self._fire(index, now)))
            over = is_over(sent[now])
            if bool((over if before is None else over & ~before).any()):
                break
            before = over
        return len(found), {name: to_array(torch.stack([ports[name] for ports in found])) for name in found[0]}

    def publish(self, version: int, nodes: Sequence[str], is_checked: bool, *weights: dict[str, Array]) -> None:
        """Check, or load, the published weights of some nodes: their arrays, in the order of `nodes`."""
        given = {node: {name: to_tensor(array) for name, array in arrays.items()}
                 for node, arrays in zip(nodes, weights, strict=True)}
        (self.worker.load if is_checked else self.worker.held.check_published)(version, given)

    def flush(self) -> Held:
        """Write the trace up to now; return what was held since the last call."""
        self.worker.recorder.flush()
        return self.worker.held_messages.taken()

    def snapshot(self) -> tuple[tuple[Snapshot, dict[str, list[PackedSteps]]], bool]:
        """Return the worker's state, with its trace written up to it, and True, which the driver can fetch instead.

        The worlds' ticks are packed apart from the rest.
        """
        self.worker.recorder.flush()
        whole = self.worker.snapshot()
        ticks = {node: pack(world.steps) for node, world in whole.worlds.items()}
        worlds = {node: world._replace(steps=()) for node, world in whole.worlds.items()}
        return (whole._replace(worlds=worlds), ticks), True

    def restore(self, state: tuple[Snapshot, dict[str, list[PackedSteps]]]) -> None:
        """Restore the state that `snapshot` returned, see `Worker.restore`."""
        snapshot, ticks = state
        worlds = {node: world._replace(steps=unpack(ticks[node])) for node, world in snapshot.worlds.items()}
        self.worker.restore(snapshot._replace(worlds=worlds))

    def close(self) -> None:
        """Write the rest of the trace."""
        if self._worker is not None:  # `make` succeeded
            self._worker.close()
