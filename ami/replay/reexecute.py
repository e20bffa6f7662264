"""Re-execution: the world is played back, all other modules fire, and their messages are compared with the trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ami.errors import TraceError
from ami.graph.graph import Graph
from ami.replay.recording import Recording, cause
from ami.runtime.held_modules import Weights
from ami.runtime.history import WorldHistory
from ami.runtime.mailbox import Mailbox, Outputs
from ami.runtime.recorder import NoTrace, Recorder
from ami.runtime.worker import Snapshot, Worker
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Difference, Trace


@dataclass(frozen=True)
class Replay:
    """Result of a re-execution.

    Attributes:
        folder: the run folder of the new trace.
        ticks: number of executed ticks.
        messages: number of compared messages.
        first: the first message that differs; None if all are identical.
        changes: what has changed since the recording, a sentence each.
    """

    folder: Path
    ticks: int
    messages: int
    first: Difference | None
    changes: list[str]

    def cause(self) -> str:
        """Return why it may differ: the changes since, those of the first differing node first."""
        return "identical" if self.first is None else cause(self.first, self.changes)


class ReplayedAgent:
    """All modules of a recorded agent except its worlds, fired tick by tick on the recorded world outputs and actions.

    Delayed actions, such as the world model's input, are the recorded ones even if this agent chose others, since the
    recorded world outputs follow from the recorded actions.

    Args:
        recording: the recorded run.
        graph: the modules' graph; the recording's own, or another with the same world.
        weights: by node.
        recorder: records every invocation, including the worlds'.
    """

    def __init__(self, recording: Recording, graph: Graph, weights: Weights, recorder: Recorder | None = None) -> None:
        self.recording, self.graph, self.recorder = recording, graph, recorder or NoTrace()
        self.nodes = [node for node in graph.order if node not in recording.worlds]
        self.worker = Worker(graph, self.nodes, recording.seed, weights, self.recorder)
        self._mail = Mailbox(graph)  # what the worlds received
        self._histories = {world: WorldHistory(whole=True) for world in recording.worlds}

    def begin(self, wave: int) -> None:
        """Go to a wave of episodes."""
        self._mail.open({world: self.graph.drafts[world].inputs for world in self._histories},
                        len(self.recording.waves[wave]))
        self._wave = wave
        self._acted: dict[str, Outputs] = {}

    def fire(self, tick: int) -> dict[str, Outputs]:
        """Run one tick; return every node's outputs, the worlds' as recorded.

        The rows that began an episode at this tick begin it first.
        """
        begun = self.recording.begun(self._wave, tick)
        if begun is not None:
            self.worker.begin(*begun, self._wave)
            for history in self._histories.values():
                history.begin(*begun)
            if tick:
                self._mail.begin(begun[0])
        self._mail.advance(tick)
        shown = self.recording.shown(self._wave, tick)
        self._mail.deliver([(tick, {**self.recording.actions(self._wave, tick), **shown})])
        for world, sent in shown.items():
            if tick % self.graph.every[world] == 0:
                now = time.perf_counter_ns()  # playback takes no time
                inputs, ages = self._mail.inputs(world, tick)
                self._histories[world].add(inputs, sent)
                self.recorder.add(world, self._wave, tick, now, now, sent, ages)
        recorded = self.recording.actions_parcel(self._wave, tick - 1, self._acted)
        outputs = self.worker.fire(self.nodes, tick, [*recorded, (tick, shown)])
        self._acted = outputs
        return {**shown, **outputs}

    def snapshot(self) -> Snapshot:
        """Return the agent's state, and the worlds' histories with every recorded output."""
        worlds = {world: history.snapshot() for world, history in self._histories.items()}
        return self.worker.snapshot()._replace(worlds=worlds)

    def run(self) -> Iterator[tuple[int, int, dict[str, Outputs]]]:
        """Run every recorded tick; yield (wave, tick, outputs by node)."""
        for wave in self.recording.waves:
            self.begin(wave)
            for tick in range(self.recording.ticks[wave]):
                yield wave, tick, self.fire(tick)


def reexecute(recording: Recording, folder: Path) -> Replay:
    """Re-execute a recording into `folder`, and compare every output's hash with the trace.

    Raises:
        TraceError: the recording holds no complete tick.
    """
    ticks = sum(recording.ticks.values())
    if not ticks:
        raise TraceError(f"{recording.folder} holds no complete tick: it was killed during the first. Fix: run again")
    write_header(folder, recording.graph, recording.config.plain(), seed=recording.seed,
                 details={**recording.trace.header["details"], "replay_of": recording.trace.header["run_id"]})
    with closing(TraceLog(folder / "trace" / "replay")) as log:
        for _ in ReplayedAgent(recording, recording.graph, recording.weights, log).run():
            pass
    anew = Trace.open(folder)
    first = recording.trace.compare(anew, recording.ticks)  # later ticks are incomplete: the run was killed
    messages = sum(table.num_rows * len(anew.ports[node]) for node, table in anew.tables.items()
                   if node not in recording.worlds)
    return Replay(folder, ticks, messages, first, recording.changes() if first is not None else [])
