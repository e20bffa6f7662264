"""What an agent acts while it learns: waves of episodes, and all of them as experience."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ami.agent import Agent
from ami.blueprint import Episode
from ami.data.episode_folder import EpisodeFolder
from ami.data.replay_buffer import ReplayBuffer, joined
from ami.learning.collect import SEED_RANGE, Running, collected_ports
from ami.rng import derive_seed
from ami.rollout import rollout

VERSION = "version"
"""The field, of episodes acted while learning, with the version of the weights at each tick."""
Figures = dict[str, float]


@dataclass(frozen=True)
class Pace:
    """How fast agents act beside their learning.

    Attributes:
        replay_ratio: steps of learning per step of the world.
        publish_every: steps of learning after which an agent takes over the weights in mid-episode.
        batch: the number of episodes of a wave.
        longest: the largest number of steps per episode.
        seed: each world's seed derives from it and the episode's number alone.
    """

    replay_ratio: float
    publish_every: int
    batch: int
    longest: int
    seed: int

    def is_due(self, done: int, world_steps: int) -> bool:
        """Return whether one more step of learning is due after so many steps of the world."""
        return world_steps * self.replay_ratio >= done + 1


class Wave:
    """A wave of episodes, which an agent runs side by side until all of them are over.

    Args:
        agent: it must watch `collected_ports`.
        pace: the number and the length of the episodes.
        number: its number; its episodes follow those of the wave before.

    Attributes:
        number: as given.
        world_steps: the actions so far, of all episodes.
        is_over: whether all episodes are.
        won: (B,), the rows that succeeded.
        lag: the sum over these actions of the lag of the weights, in steps of learning.
    """

    def __init__(self, agent: Agent, pace: Pace, number: int) -> None:
        numbers = range(number * pace.batch, (number + 1) * pace.batch)
        episodes = [Episode(one, derive_seed(pace.seed, "act", one) % SEED_RANGE) for one in numbers]
        self._ticks = rollout(agent, episodes, wave=number, longest=pace.longest, ahead=1)
        self._running = Running(collected_ports(agent.graph), pace.longest)
        self.number, self.world_steps, self.is_over, self.lag = number, 0, False, 0
        self._versions = 0
        self.won = torch.zeros(pace.batch, dtype=torch.bool)

    def tick(self, version: int, lag: int) -> None:
        """Run one tick.

        Args:
            version: of the weights of the agent.
            lag: the number of steps that the newest weights have learnt since.
        """
        step = next(self._ticks)
        self._running.add(step, {VERSION: torch.full((len(self.won),), version)})
        for row in step.ended.nonzero()[:, 0].tolist():
            self._running.finish(row, step)
        self.won |= step.world["success"].cpu() & step.alive
        acted = int((step.alive & (step.age > 0)).sum())
        self.world_steps += acted
        self.lag += lag * acted
        self._versions += version * acted
        self.is_over = not bool(step.continues.any())

    @property
    def version(self) -> float:
        """The mean version of the weights over the actions."""
        return self._versions / max(1, self.world_steps)

    @property
    def episodes(self) -> list[Mapping[str, torch.Tensor]]:
        """The finished episodes in order."""
        return [episode for _, episode in sorted(self._running.finished.items())]


class Acted:
    """The episodes of all waves so far, in the order in which they came, and those that learning began with.

    Args:
        pace: the number of episodes of a wave.
        start: the episodes that learning begins with.
        files: the folder to which every episode is appended.
        buffer: an empty buffer for the same episodes.
        capacity: the largest number of observations to learn from; the oldest episodes are left out.
        reports_success: whether the world reports success.

    Attributes:
        waves: the number of waves.
        next_wave: the number after the largest one of a wave.
        world_steps: the actions of their episodes.
    """

    def __init__(self, pace: Pace, start: ReplayBuffer, files: EpisodeFolder, buffer: ReplayBuffer,
                 capacity: int | None = None, reports_success: bool = True) -> None:
        self.pace, self.start, self.files, self.buffer = pace, start, files, buffer
        self.capacity, self.reports_success = capacity, reports_success
        self.waves = self.world_steps = self.next_wave = 0
        self._last: Figures = {}

    @property
    def experience(self) -> ReplayBuffer:
        """All episodes to learn from."""
        return joined([self.start, self.buffer] if self.buffer.num_episodes else [self.start], self.capacity)

    def add(self, wave: Wave, **figures: float) -> None:
        """Add a wave that is over, with `figures` of it."""
        before = self.buffer.num_episodes
        for episode in wave.episodes:
            self.files.append(episode)
            self.buffer.append(episode)
        self.files.path.touch()  # the cache deletes what was not used for longest
        self.waves, self.next_wave = self.waves + 1, max(self.next_wave, wave.number + 1)
        self.world_steps += wave.world_steps
        new = self.buffer.some(range(before, self.buffer.num_episodes))
        self._last = {"return": new.mean_return, "steps": float(new.steps.float().mean()),
                      "lag": wave.lag / max(1, wave.world_steps), **figures}
        if self.reports_success:
            self._last["success"] = float(wave.won.float().mean())

    def figures(self, done: int) -> Figures:
        """Return the figures of the last wave, and of all experience after so many steps of learning."""
        frames = self.experience.num_frames
        versions = self.buffer.column(VERSION)[-frames:]  # 0 in the start
        return {"step": float(self.waves), **self._last, "world_steps": float(self.world_steps),
                "replay_ratio": done / self.world_steps, "buffer": float(frames),
                "staleness": done - float(versions.double().sum()) / frames}

    def holds(self, state: Mapping[str, Any]) -> bool:
        """Return whether the episodes of a `state` of an earlier process are still there."""
        return self.files.num_episodes >= int(state["waves"]) * self.pace.batch

    def state(self) -> dict[str, Any]:
        """Return what a later process needs to go on from here, as plain values."""
        return {"waves": self.waves, "next_wave": self.next_wave, "world_steps": self.world_steps}

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Begin, or go on from a `state`."""
        if state is not None:
            self.waves, self.next_wave = int(state["waves"]), int(state["next_wave"])
            self.world_steps = int(state["world_steps"])
        self.files.keep(self.waves * self.pace.batch)
        for episode in self.files.episodes():
            self.buffer.append(episode)
