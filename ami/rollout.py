"""Rollout: run the episodes of an agent in parallel rows. Only this file defines when an episode is over.

Collecting, evaluation, validation, videos and expert plans iterate over `rollout`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ami.agent import FLAGS, Agent
from ami.blueprint import Episode, World
from ami.errors import require
from ami.graph.graph import Graph

MOST_AHEAD = 1000
"""The default of `ahead`; a runtime stops at the end of an episode anyway."""
OVER = FLAGS[:2]
"""The flags of a world that end an episode."""


class Step(NamedTuple):
    """One tick of all rows.

    Attributes:
        outputs: the watched outputs, by "node.port".
        world: the world's flags and reward (B,), by the names in `FLAGS`.
        episodes: the episode of each row.
        age: (B,) int64, the number of actions that led from the first tick of each row's episode to this tick.
        alive: (B,) bool, the rows whose episode was not over before this tick; ignore the outputs of other rows.
        ended: (B,) bool, the rows whose episode ends at this tick.
    """

    outputs: Mapping[str, Tensor]
    world: Mapping[str, Tensor]
    episodes: Sequence[Episode]
    age: Tensor
    alive: Tensor
    ended: Tensor

    @property
    def continues(self) -> Tensor:
        """The rows (B,) whose episode continues after this tick."""
        return self.alive & ~self.ended


def rollout(agent: Agent, episodes: Sequence[Episode], batch: int | None = None, *, wave: int = 0,
            longest: int | None = None, refill: bool = False, ahead: int = MOST_AHEAD) -> Iterator[Step]:
    """Run episodes and yield every tick.

    Args:
        agent: the agent; its graph has one world.
        episodes: the episodes, in the order in which they begin.
        batch: the number of parallel rows; None runs all episodes side by side.
        wave: the number of the first wave in the trace.
        longest: the maximum number of actions per episode; None for no limit.
        refill: start the next episode in a row as soon as its episode is over. Without it the episodes run in waves: the
            next `batch` episodes begin when all rows are over, and a row that is over waits. A trace needs waves, since it
            numbers episodes by wave and row. Ignored if a world fires only every few ticks.
        ahead: the largest number of ticks that a runtime may compute at once; 1 if weights are published between ticks.

    Raises:
        GraphError: the graph does not have one world.
        SettingError: `batch` is below 1.
    """
    world = agent.graph.the(World)
    waiting = deque(episodes)
    batch = len(waiting) if batch is None else batch
    require(batch >= 1 or not waiting, f"the batch is {batch}: expected 1 or more parallel worlds")
    refill = refill and supports_partial_resets(agent.graph)
    while waiting:
        rows = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
        yield from _run(agent, world, rows, waiting if refill else deque(), wave, longest, ahead)
        wave += 1


def is_over(world: Mapping[str, Tensor]) -> Tensor:
    """Return the rows (B,) that are terminated or truncated, given a world's outputs by port."""
    terminated, truncated = (world[flag] for flag in OVER)
    return terminated | truncated


def supports_partial_resets(graph: Graph) -> bool:
    """Return whether episodes can begin in some rows while others continue: not if a world fires only every few ticks."""
    return all(graph.every[world] == 1 for world in graph.nodes_of(World))


def _run(agent: Agent, world: str, rows: list[Episode], waiting: deque[Episode], wave: int,
         longest: int | None, ahead: int) -> Iterator[Step]:
    """Run one episode per row until all are over; a row that is over starts the next episode of `waiting`."""
    ports = {flag: f"{world}.{flag}" for flag in FLAGS}
    alive, age = torch.ones(len(rows), dtype=torch.bool), torch.zeros(len(rows), dtype=torch.int64)
    agent.reset(alive, rows, wave)
    oldest = 0  # the greatest age of a row that is alive
    while True:
        outputs = agent.cycle(ahead if longest is None else min(ahead, 1 + longest - oldest))
        flags = {flag: outputs[port] for flag, port in ports.items()}
        over = is_over(flags)
        ended = alive & (over if longest is None or oldest < longest else over | (age >= longest))
        yield Step(outputs, flags, tuple(rows), age, alive, ended)
        age, oldest = age + 1, oldest + 1
        if not bool(ended.any()):
            continue
        alive = alive & ~ended
        begun = torch.zeros_like(alive)
        for row in ended.nonzero()[:, 0].tolist()[:len(waiting)]:
            rows[row], begun[row] = waiting.popleft(), True
        if bool(begun.any()):
            agent.reset(begun, rows)
            alive, age = alive | begun, torch.where(begun, 0, age)
        elif not bool(alive.any()):
            return
        oldest = int(age[alive].max())
