"""Again: a recording executed anew. The world is played back; every other module fires, and has to say what it said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from ami.errors import TraceError
from ami.graph.graph import Graph
from ami.replay.recording import ACTOR, Recording, cause
from ami.runtime.recorder import NoTrace, Recorder
from ami.runtime.worker import Outputs, Weights, Worker
from ami.trace.header import write_header
from ami.trace.levels import WORLD
from ami.trace.log import TraceLog
from ami.trace.reader import Difference, Trace


@dataclass(frozen=True)
class Replay:
    """What came of executing a recording anew.

    Attributes:
        folder: where the new trace is, a run's folder.
        ticks: how many ticks were executed.
        messages: how many messages were compared.
        first: the first message that differs; None when all are identical.
        changes: what the recording depends on and has changed since, a sentence each.
    """

    folder: Path
    ticks: int
    messages: int
    first: Difference | None
    changes: list[str]

    def cause(self) -> str:
        """Why it may differ: what has changed of the node that differs first comes first."""
        return "identical" if self.first is None else cause(self.first, self.changes)


class Mind:
    """All modules of a recorded mind but its world, fired tick by tick on what the recorded world showed and what was done.

    The action that arrives late, at the world model for one, is the recorded one, also where this mind has come to choose
    otherwise: so everything answers to what really was.

    Args:
        recording: what to execute.
        graph: whose modules; the recording's own, or another's with the same world.
        weights: by node.
        recorder: is told of every firing, the world's among them.
    """

    def __init__(self, recording: Recording, graph: Graph, weights: Weights, recorder: Recorder | None = None) -> None:
        self.recording, self.graph, self.recorder = recording, graph, recorder or NoTrace()
        self.nodes = [node for node in graph.order if node != WORLD]
        self.worker = Worker(graph, self.nodes, recording.seed, weights, self.recorder)

    def begin(self, wave: int) -> None:
        """A wave of episodes begins."""
        episodes = self.recording.waves[wave]
        self.worker.begin(torch.ones(len(episodes), dtype=torch.bool), episodes, wave)
        self._wave = wave
        self._acted: Outputs = {}

    def fire(self, tick: int) -> dict[str, Outputs]:
        """One tick: every node's outputs, the world's as recorded."""
        shown = self.recording.shown(self._wave, tick)
        if tick % self.graph.every[WORLD] == 0:
            now = time.perf_counter_ns()  # what is played back takes no time
            self.recorder.add(WORLD, self._wave, tick, now, now, shown)
        really = self.recording.deed(self._wave, tick - 1, self._acted)
        said = self.worker.fire(self.nodes, tick, [*really, (tick, {WORLD: shown})])
        self._acted = said.get(ACTOR, {})
        return {WORLD: shown, **said}

    def live(self) -> Iterator[tuple[int, int, dict[str, Outputs]]]:
        """Every recorded tick: (wave, tick, outputs by node)."""
        for wave in self.recording.waves:
            self.begin(wave)
            for tick in range(self.recording.ticks[wave]):
                yield wave, tick, self.fire(tick)


def again(recording: Recording, folder: Path) -> Replay:
    """Execute a recording anew into `folder`, and compare every output's hash with the record.

    Raises:
        TraceError: the recording holds no whole tick.
    """
    ticks = sum(recording.ticks.values())
    if not ticks:
        raise TraceError(f"{recording.folder} holds no whole tick: it was killed before one was over. Fix: run again")
    write_header(folder, recording.graph, recording.config.plain(), seed=recording.seed,
                 details={**recording.trace.header["details"], "replay_of": recording.trace.header["run_id"]})
    with closing(TraceLog(folder / "trace" / "replay")) as log:
        for _ in Mind(recording, recording.graph, recording.weights, log).live():
            pass
    anew = Trace.open(folder)
    first = recording.trace.compare(anew, recording.ticks)  # beyond lie the rests of ticks in which the run was killed
    messages = sum(table.num_rows * len(anew.ports[node]) for node, table in anew.tables.items() if node != WORLD)
    return Replay(folder, ticks, messages, first, recording.changes() if first is not None else [])
