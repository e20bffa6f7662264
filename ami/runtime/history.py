"""World history: the ticks of a world since its running episodes began.

A gymnasium world cannot be copied. Its state is restored by re-executing the recorded actions from the reset on; its
outputs are compared with the recorded ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from ami.blueprint import World
from ami.errors import WorldFault
from ami.module import Episode

HELD = ("reward", "terminated", "truncated", "success")
"""The scalar outputs kept of earlier ticks for the comparison; of the last tick all outputs are kept."""


class Step(NamedTuple):
    """One tick of a world.

    Attributes:
        begun: the rows (B,) that began an episode at this tick; None if none did.
        episodes: the episode of every row.
        inputs: the received messages.
        outputs: the sent messages to compare with.
    """

    begun: Tensor | None
    episodes: tuple[Episode, ...]
    inputs: Mapping[str, Tensor | None]
    outputs: Mapping[str, Tensor]


class WorldSnapshot(NamedTuple):
    """Snapshot of a world's history, as plain values.

    Attributes:
        steps: its ticks since the oldest running episode began.
        begun: the rows (B,) that begin an episode at the next tick; None if none do.
        episodes: the episode of every row.
    """

    steps: tuple[Step, ...]
    begun: Tensor | None
    episodes: tuple[Episode, ...]

    def without_outputs(self) -> WorldSnapshot:
        """Return a copy without outputs, for a world with other settings, whose outputs are not compared."""
        return self._replace(steps=tuple(step._replace(outputs={}) for step in self.steps))


class PackedSteps(NamedTuple):
    """Consecutive ticks with the same ports, their messages stacked (T, B, …): a few tensors to send, not thousands."""

    begun: tuple[Tensor | None, ...]
    episodes: tuple[tuple[Episode, ...], ...]
    inputs: Mapping[str, Tensor | None]
    outputs: Mapping[str, Tensor]


def pack(steps: Sequence[Step]) -> list[PackedSteps]:
    """Stack the messages of a world's ticks."""
    packed = []
    for _, same in groupby(steps, lambda step: ({name: value is None for name, value in step.inputs.items()},
                                                {port: value.shape for port, value in step.outputs.items()})):
        some = list(same)
        inputs = {name: None if value is None else torch.stack([step.inputs[name] for step in some])  # type: ignore[misc]
                  for name, value in some[0].inputs.items()}
        outputs = {port: torch.stack([step.outputs[port] for step in some]) for port in some[0].outputs}
        begun, episodes = tuple(step.begun for step in some), tuple(step.episodes for step in some)
        packed.append(PackedSteps(begun, episodes, inputs, outputs))
    return packed


def unpack(packed: Sequence[PackedSteps]) -> tuple[Step, ...]:
    """Return what `pack` was given."""
    return tuple(Step(begun, episodes, {name: None if value is None else value[i] for name, value in some.inputs.items()},
                      {port: value[i] for port, value in some.outputs.items()})
                 for some in packed for i, (begun, episodes) in enumerate(zip(some.begun, some.episodes, strict=True)))


class WorldHistory:
    """The ticks of a world since the oldest of its running episodes began.

    Args:
        whole: whether to keep all outputs of all ticks, to compare all of them.
    """

    def __init__(self, whole: bool = False) -> None:
        self._whole = whole
        self._steps: list[Step] = []
        self._episodes: tuple[Episode, ...] = ()
        self._begun: Tensor | None = None

    def begin(self, mask: Tensor, episodes: Sequence[Episode]) -> None:
        """Record that the masked rows (B,) begin new episodes at the next tick; drop ticks that no running episode needs."""
        if bool(mask.all()):
            self._steps, self._episodes, self._begun = [], tuple(episodes), mask.clone()
            return
        rows = zip(mask.tolist(), episodes, self._episodes, strict=True)
        self._episodes = tuple(new if begins else old for begins, new, old in rows)
        self._begun = mask.clone() if self._begun is None else mask | self._begun
        needed = ~self._begun
        for first in range(len(self._steps) - 1, -1, -1):  # back to the start of the oldest running episode
            begun = self._steps[first].begun
            if begun is not None:
                needed = needed & ~begun
            if not bool(needed.any()):
                del self._steps[:first]
                return

    def add(self, inputs: Mapping[str, Tensor | None], outputs: Mapping[str, Tensor]) -> None:
        """Record one tick."""
        if self._steps and not self._whole:
            last = self._steps[-1]
            self._steps[-1] = last._replace(outputs={port: last.outputs[port] for port in HELD if port in last.outputs})
        self._steps.append(Step(self._begun, self._episodes, dict(inputs), dict(outputs)))
        self._begun = None

    def snapshot(self) -> WorldSnapshot:
        """Return the recorded ticks."""
        return WorldSnapshot(tuple(self._steps), self._begun, self._episodes)

    def restore(self, snapshot: WorldSnapshot) -> None:
        """Restore what `snapshot()` returned."""
        self._steps, self._begun, self._episodes = list(snapshot.steps), snapshot.begun, snapshot.episodes


def reexecute_world(world: World, snapshot: WorldSnapshot) -> None:
    """Restore the state of a world by re-executing its recorded ticks.

    Until its running episode begins, a row takes placeholder (allowed) actions, and its outputs are not compared.

    Args:
        world: a built world.
        snapshot: from `WorldHistory.snapshot`.

    Raises:
        WorldFault: an output differs from the recorded one.
    """
    steps, final = snapshot.steps, snapshot.episodes
    if steps:
        world.begin(torch.ones(len(final), dtype=torch.bool), final)
    numbers = [episode.number for episode in final]
    running = torch.zeros(len(final), dtype=torch.bool)
    outputs: Mapping[str, Tensor] = {}
    for tick, step in enumerate(steps):
        if step.begun is not None:
            lasting = [episode.number == number for episode, number in zip(step.episodes, numbers, strict=True)]
            begun = step.begun & torch.tensor(lasting)
            if tick and bool(begun.any()):
                world.begin(begun, final)
            running = running | begun
        outputs = world.step(**_allowed(world, step.inputs, outputs, running))
        for port, value in step.outputs.items():
            if not torch.equal(outputs[port][running], value[running]):
                raise WorldFault(f"the world's {port} differs from the recorded one at re-executed tick {tick} of "
                                 f"{len(steps)}: expected the same episode for the same seed and actions. Fix: draw from "
                                 "self.np_random, after super().reset(seed=seed)")
    if snapshot.begun is not None:
        world.begin(snapshot.begun, final)


def _allowed(world: World, inputs: Mapping[str, Tensor | None], outputs: Mapping[str, Tensor],
             running: Tensor) -> dict[str, Tensor | None]:
    """Return a tick's inputs, with the allowed action nearest to 0 in rows that are not running."""
    if bool(running.all()):
        return dict(inputs)
    found = dict(inputs)
    for name, value in inputs.items():
        space = world.inputs[name].space
        if value is not None and space is not None:
            idle = space.nearest(torch.zeros_like(value), outputs.get("action_mask"))
            found[name] = torch.where(running.view(-1, 1), value, idle)
    return found
