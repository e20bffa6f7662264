"""Fork: continue a recorded run from a tick on with other settings.

The recorded agent is re-executed up to the tick and verified against the trace. The snapshots of its modules are restored in
the forked agent. The world is reset and re-executes the recorded actions, since a gymnasium world cannot be copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from ami.blueprint import World
from ami.config.compose import to_graph
from ami.errors import TraceError, WorldFault
from ami.replay.compatibility import changed_in, fitting_weights, incomparable
from ami.replay.recording import Recording, cause
from ami.replay.reexecute import ReplayedAgent
from ami.replay.verify import Checked
from ami.rollout import is_over
from ami.runtime.mailbox import Outputs
from ami.runtime.worker import Worker
from ami.terminal.console import Console
from ami.trace.header import write_header
from ami.trace.log import TraceLog


@dataclass(frozen=True)
class EpisodeProgress:
    """Outcome of one episode up to a tick.

    Attributes:
        success: whether the goal was reached.
        steps: number of actions until that tick or the episode's end.
        ret: the sum of the rewards.
        over: whether the episode ended.
    """

    success: bool
    steps: int
    ret: float
    over: bool


START = EpisodeProgress(False, -1, 0.0, False)
"""An episode before its first tick."""


@dataclass(frozen=True)
class Fork:
    """The outcomes of a recorded run and of its fork.

    Attributes:
        folder: the run folder of the fork, whose trace begins at the tick.
        wave, tick: where the fork begins.
        rows: the rows whose episodes had not ended by then.
        recorded, forked: the outcomes of these rows.
        fresh: the nodes that could not be restored and start with their initial carry.
        ticks: number of ticks of the forked wave, including those before the fork.
    """

    folder: Path
    wave: int
    tick: int
    rows: tuple[int, ...]
    recorded: tuple[EpisodeProgress, ...]
    forked: tuple[EpisodeProgress, ...]
    fresh: tuple[str, ...]
    ticks: int


def fork(recording: Recording, wave: int, tick: int, overrides: Sequence[str], folder: Path,
         console: Console | None = None) -> Fork:
    """Continue a recorded run from a tick on with other settings.

    Args:
        recording: the recorded run.
        wave, tick: the first tick of the fork.
        overrides: the changes, as on the command line; without any the fork repeats the recorded run.
        folder: folder for the fork.
        console: for progress.

    Raises:
        TraceError: there is no such wave or tick, every episode had ended by then, or the agent or the world does not
            reproduce the trace.
        UnknownName, SettingError, GraphError: the other configuration is invalid.
    """
    ticks = recording.ticks.get(wave)
    if ticks is None or not 0 <= tick < ticks:
        held = (f"waves {', '.join(map(str, recording.ticks))}. Fix: --wave {max(recording.ticks)}" if ticks is None else
                f"ticks 0 to {ticks - 1} of wave {wave}. Fix: --fork {ticks - 1}, or an earlier one")
        raise TraceError(f"{recording.folder} cannot be forked at tick {tick} of wave {wave}: it holds {held}")
    other = recording.other(overrides)
    graph = to_graph(other)
    weights = fitting_weights(recording, other, graph, console)
    alive = _alive(recording, wave, tick)
    if not alive:
        raise TraceError(f"every episode of wave {wave} had ended before tick {tick}. Fix: an earlier tick")
    write_header(folder, graph, other.plain(), seed=recording.seed,
                 details={**recording.trace.header["details"], "overrides": list(other.overrides),
                          "fork_of": recording.trace.header["run_id"], "forked_at": [wave, tick], "alive": list(alive),
                          "incomparable": incomparable(recording.graph, graph, changed_in(recording, graph, weights))})
    with closing(TraceLog(folder / "trace" / "fork", payload=True)) as log:
        future = Worker(graph, graph.order, recording.seed, weights, log)
        fresh = _restore_before(recording, wave, tick, future, same_weights=weights is recording.weights)
        with (console or Console(quiet=True)).counting("fork", len(alive), "worlds") as bar:
            forked, last = _run_on(future, tick, _outcomes(recording, wave, tick, tick), lambda more: bar(more, ""))
    recorded = _outcomes(recording, wave, ticks, tick)
    return Fork(folder, wave, tick, alive, tuple(recorded[row] for row in alive), tuple(forked[row] for row in alive),
                fresh, last)


def _restore_before(recording: Recording, wave: int, tick: int, future: Worker, same_weights: bool) -> tuple[str, ...]:
    """Restore the state of every module of `future` before `tick`; return the nodes that could not be restored.

    Changed modules cannot be restored. If the weights differ, no module can: the carries hold states of the recorded model.
    """
    past = recording.graph
    held = Checked(recording.trace, recording.worlds)
    replayed = ReplayedAgent(recording, past, recording.weights, held)
    replayed.worker.mail.depth = max(replayed.worker.mail.depth, future.mail.depth)
    replayed.begin(wave)
    episodes = recording.waves[wave]
    future.begin(torch.ones(len(episodes), dtype=torch.bool), episodes, wave)
    for now in range(tick):
        replayed.fire(now)
        if held.first is not None:
            raise TraceError(f"{recording.folder} cannot be forked at tick {tick}: its re-executed agent differs from the "
                             f"trace at {held.first}, so the state of its modules cannot be restored. "
                             f"Because: {cause(held.first, recording.changes())}. "
                             "Fix: fork with the code, settings and versions of the run")
    nodes = [node for node in future.graph.order if node not in recording.worlds]
    same = [node for node in nodes if same_weights and past.specs.get(node) == future.graph.specs[node]
            and past.dims[node] == future.graph.dims[node]]
    if tick:
        then = replayed.snapshot()
        worlds = {world: own if past.specs[world] == future.graph.specs[world] else own.without_outputs()
                  for world, own in then.worlds.items()}
        try:
            future.restore(then._replace(modules={node: then.modules[node] for node in same}, worlds=worlds))
        except WorldFault as error:
            raise TraceError(f"{recording.folder} cannot be forked at tick {tick}: {error}") from None
        begun = recording.begun(wave, tick)
        if begun is not None:
            future.begin(*begun, wave)
    return tuple(node for node in nodes if node not in same)


def _run_on(future: Worker, tick: int, outcomes: list[EpisodeProgress],
            on_over: Callable[[int], None]) -> tuple[list[EpisodeProgress], int]:
    """Run from `tick` on until every episode has ended; return the outcomes and the number of ticks.

    `on_over` is called at every tick with the number of episodes that end.
    """
    world = future.graph.nodes_of(World)[0]
    while not all(one.over for one in outcomes):
        before = sum(one.over for one in outcomes)
        outcomes = _updated(outcomes, future.fire(future.graph.order, tick)[world])
        tick += 1
        on_over(sum(one.over for one in outcomes) - before)
    return outcomes, tick


def _alive(recording: Recording, wave: int, tick: int) -> tuple[int, ...]:
    return tuple(row for row, one in enumerate(_outcomes(recording, wave, tick, tick)) if not one.over)


def _outcomes(recording: Recording, wave: int, ticks: int, at: int) -> list[EpisodeProgress]:
    """Return the outcome, after `ticks` recorded ticks, of the episode that each row runs at tick `at`."""
    outcomes = [START] * len(recording.waves[wave])
    for tick in range(ticks + 1):
        begun = recording.begun(wave, tick) if tick <= at else None
        if begun is not None:
            outcomes = [START if begins else one for begins, one in zip(begun[0].tolist(), outcomes, strict=True)]
        if tick < ticks:
            outcomes = _updated(outcomes, recording.shown(wave, tick)[recording.worlds[0]])
    return outcomes


def _updated(outcomes: Sequence[EpisodeProgress], shown: Outputs) -> list[EpisodeProgress]:
    """Update the outcomes by one tick; ticks after an episode's end do not count."""
    over = is_over(shown)
    return [one if one.over else
            EpisodeProgress(bool(shown["success"][row]), one.steps + 1, one.ret + float(shown["reward"][row]),
                            bool(over[row]))
            for row, one in enumerate(outcomes)]
