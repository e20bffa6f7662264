"""Fork: a recorded life up to a tick, and from there on another one.

Every module is brought to where it stood: the mind is executed anew up to the tick, held against the record, and its
snapshots are restored; the world begins as it did and is given the recorded actions again, since a gymnasium world cannot be
copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ami.config.compose import to_graph
from ami.errors import TraceError
from ami.graph.faults import blamed
from ami.replay.compatibility import changed_in, fitting_weights, incomparable
from ami.replay.recording import Recording, cause
from ami.replay.reexecute import Mind
from ami.replay.verify import Checked
from ami.runtime.recorder import NoTrace
from ami.runtime.worker import Outputs, Worker
from ami.terminal.console import Console
from ami.trace.header import write_header
from ami.trace.levels import WORLD
from ami.trace.log import TraceLog


@dataclass(frozen=True)
class Life:
    """What became of one world.

    Attributes:
        success: whether the goal was reached.
        steps: actions until the episode was over, or until the record ends.
        ret: the sum of the world's rewards.
        over: whether the episode was over.
    """

    success: bool
    steps: int
    ret: float
    over: bool


@dataclass(frozen=True)
class Fork:
    """Two lives with one past.

    Attributes:
        folder: the other life's trace, from the tick on; a run's folder.
        wave, tick: where they part.
        rows: the worlds that were not over by then.
        recorded, forked: what became of each of them.
        fresh: the nodes that are not what they were and begin with an empty carry.
        ticks: how many ticks the other life took, past included.
    """

    folder: Path
    wave: int
    tick: int
    rows: tuple[int, ...]
    recorded: tuple[Life, ...]
    forked: tuple[Life, ...]
    fresh: tuple[str, ...]
    ticks: int


def fork(recording: Recording, wave: int, tick: int, overrides: Sequence[str], folder: Path,
         console: Console | None = None) -> Fork:
    """Let a recorded life go on differently from a tick on.

    Args:
        recording: what happened.
        wave, tick: the first tick that is lived anew.
        overrides: what differs from then on, as on the command line; none lives the same life again.
        folder: where the other life's trace goes.
        console: where progress is shown.

    Raises:
        TraceError: there is no such wave or tick, every world was over by then, or the mind or the world does not do again
            what was recorded.
        UnknownName, SettingError, GraphError: the other mind is unsound.
    """
    ticks = recording.ticks.get(wave)
    if ticks is None or not 0 <= tick < ticks:
        told = (f"waves {', '.join(map(str, recording.ticks))}. Fix: --wave {max(recording.ticks)}" if ticks is None else
                f"ticks 0 to {ticks - 1} of wave {wave}. Fix: --fork {ticks - 1}, or an earlier one")
        raise TraceError(f"{recording.folder} cannot be forked at tick {tick} of wave {wave}: it holds {told}")
    other = recording.other(overrides)
    graph = to_graph(other)
    weights = fitting_weights(recording, other, graph, console)
    alive = _alive(recording, wave, tick)
    if not alive:
        raise TraceError(f"every world of wave {wave} was over before tick {tick}. Fix: an earlier tick")
    write_header(folder, graph, other.plain(), seed=recording.seed,
                 details={**recording.trace.header["details"], "overrides": list(other.overrides),
                          "fork_of": recording.trace.header["run_id"], "forked_at": [wave, tick], "alive": list(alive),
                          "incomparable": incomparable(recording.graph, graph, changed_in(recording, graph, weights))})
    with closing(TraceLog(folder / "trace" / "fork", payload=True)) as log:
        future = Worker(graph, graph.order, recording.seed, weights, log)
        fresh = _bring_to(recording, wave, tick, future, learnt_alike=weights is recording.weights)
        with (console or Console(quiet=True)).counting("fork", len(alive), "worlds") as bar:
            lives, last = _live_on(future, tick, _lives(recording, wave, tick), lambda more: bar(more, ""))
    recorded = _lives(recording, wave, ticks)
    return Fork(folder, wave, tick, alive, tuple(recorded[row] for row in alive), tuple(lives[row] for row in alive),
                fresh, last)


def _bring_to(recording: Recording, wave: int, tick: int, future: Worker, learnt_alike: bool) -> tuple[str, ...]:
    """Bring every module of the future to where it stood before `tick`; names those that could not be: other modules, and,
    where other states were learnt, all of them, for what they remember are states."""
    past = recording.graph
    held = Checked(recording.trace)
    mind = Mind(recording, past, recording.weights, held)
    mind.begin(wave)
    episodes = recording.waves[wave]
    future.begin(torch.ones(len(episodes), dtype=torch.bool), episodes, wave)
    history: list[dict[str, Outputs]] = []
    recorder, future.recorder = future.recorder, NoTrace()  # the past has been recorded
    same_world = past.specs[WORLD] == future.graph.specs[WORLD]
    for now in range(tick):
        history.append(mind.fire(now))
        if held.first is not None:
            raise TraceError(f"{recording.folder} cannot be forked at tick {tick}: its mind, executed anew, says something "
                             f"else than was recorded at {held.first}, so its modules do not stand where they stood. "
                             f"Because: {cause(held.first, recording.changes())}. Fix: fork it with what it was run with")
        shown, was = future.fire([WORLD], now, recording.deed(wave, now - 1))[WORLD], history[-1][WORLD]
        different = [port for port in was if not torch.equal(shown[port], was[port])] if same_world else []
        if different:
            raise TraceError(f"the world showed another {different[0]} at tick {now} than was recorded: it does not do "
                             "again what it did, so no life in it can go on from there")
    future.recorder = recorder
    nodes = [node for node in future.graph.order if node != WORLD]
    same = [node for node in nodes if learnt_alike and past.specs.get(node) == future.graph.specs[node]
            and past.dims[node] == future.graph.dims[node]]
    for node in same:
        with blamed(node, "snapshot() and restore()"):
            future.modules[node].restore(mind.worker.modules[node].snapshot())
    if tick:  # what is still under way on delayed wires
        future.fire([], tick, [(now, {node: said for node, said in outputs.items()
                                      if node in future.graph.order and (node != WORLD or same_world)})
                               for now, outputs in enumerate(history)])
    return tuple(node for node in nodes if node not in same)


def _live_on(future: Worker, tick: int, lives: list[Life], on_over: Callable[[int], None]) -> tuple[list[Life], int]:
    """Live from `tick` on until every world is over; tells how many are over, and returns the number of ticks."""
    while not all(life.over for life in lives):
        before = sum(life.over for life in lives)
        lives = _lived(lives, tick, future.fire(future.graph.order, tick)[WORLD])
        tick += 1
        on_over(sum(life.over for life in lives) - before)
    return lives, tick


def _alive(recording: Recording, wave: int, tick: int) -> tuple[int, ...]:
    return tuple(row for row, life in enumerate(_lives(recording, wave, tick)) if not life.over)


def _lives(recording: Recording, wave: int, ticks: int) -> list[Life]:
    """What had become of every world within the first `ticks` recorded ticks."""
    lives = [Life(False, 0, 0.0, False)] * len(recording.waves[wave])
    for tick in range(ticks):
        lives = _lived(lives, tick, recording.shown(wave, tick))
    return lives


def _lived(lives: Sequence[Life], tick: int, shown: Outputs) -> list[Life]:
    """One tick more; what a world shows after it was over does not count."""
    over: Tensor = shown["terminated"] | shown["truncated"]
    return [life if life.over else
            Life(bool(shown["success"][row]), tick, life.ret + float(shown["reward"][row]), bool(over[row]))
            for row, life in enumerate(lives)]
