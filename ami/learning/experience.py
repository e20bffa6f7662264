"""Experience: episodes as they were lived, and windows of them to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode
from ami.errors import SettingError
from ami.rng import derive_seed

WATCH = ("world.observation", "world.truth", "actor.action")
"""The ports an agent must be built to watch for its life to be collected."""
SEED_RANGE = 2**31


@dataclass(frozen=True)
class Experience:
    """E episodes of up to T steps.

    Attributes:
        observation: (E, T + 1, *O).
        action: (E, T, A); action[t] leads from observation[t] to observation[t + 1].
        truth: (E, T + 1, X), the world's true state, for probes alone.
        steps: (E,), how many steps each episode really has; what lies behind is padding.
        reward: (E, T), the world's on arriving at observation[t + 1]; None where nobody kept it.
        cont: (E, T), 0 where the world ended the episode at observation[t + 1], else 1: a mere time limit ends nothing.
    """

    observation: Tensor
    action: Tensor
    truth: Tensor
    steps: Tensor
    reward: Tensor | None = None
    cont: Tensor | None = None

    @property
    def num_frames(self) -> int:
        """How many observations were lived."""
        return int((self.steps + 1).sum())

    def part(self, episodes: int) -> Experience:
        """The first episodes alone."""
        return replace(self, **{name: value[:episodes] for name, value in vars(self).items() if value is not None})

    @property
    def mean_return(self) -> float:
        """The mean over episodes of the rewards' sum; nan where nobody kept them."""
        if self.reward is None:
            return float("nan")
        lived = torch.arange(self.reward.shape[1])[None] < self.steps[:, None]
        return float((self.reward.double() * lived).sum(1).mean())

    def frames(self) -> Tensor:
        """Every observation that was lived, (F, *O), episode after episode."""
        return torch.cat([self.observation[e, : n + 1] for e, n in enumerate(self.steps.tolist())])

    def lasts(self) -> Tensor:
        """Which of `frames()` are the last of their episode, (F,)."""
        last = torch.zeros(self.num_frames, dtype=torch.bool)
        last[(self.steps + 1).cumsum(0) - 1] = True
        return last

    def starts(self, window: int) -> Tensor:
        """Every (episode, step) at which a window of `window` steps fits, (M, 2).

        Raises:
            SettingError: no episode is that long.
        """
        fits = torch.arange(self.action.shape[1])[None] + window <= self.steps[:, None]
        starts = fits.nonzero()
        if len(starts) == 0:
            raise SettingError(f"a window of {window} steps was asked for, the longest episode has {int(self.steps.max())}. "
                               "Fix: a smaller window, or learning.collect.steps larger")
        return starts

    def endings(self, window: int) -> Tensor:
        """Where windows begin that reach up to where the world ended an episode, (M, 2); none where nobody kept that."""
        if self.cont is None:
            return torch.zeros(0, 2, dtype=torch.int64)
        last = (self.steps - 1).clamp(min=0)
        ended = (self.cont[torch.arange(len(last)), last] == 0) & (self.steps >= window)
        return torch.stack([ended.nonzero()[:, 0], self.steps[ended] - window], dim=1)

    def windows(self, starts: Tensor, window: int) -> dict[str, Tensor]:
        """The windows that begin at `starts` (N, 2): "observation" (N, window + 1, *O), "action" (N, window, A), and, where
        they were kept, "reward" and "cont" (N, window)."""
        episode, step = starts[:, :1], starts[:, 1:] + torch.arange(window + 1)
        told = {"action": self.action, "reward": self.reward, "cont": self.cont}
        return {"observation": self.observation[episode, step]} | {
            name: value[episode, step[:, :-1]] for name, value in told.items() if value is not None}


def collect(agent: Agent, episodes: int, steps: int, batch: int, seed: int,
            on_progress: Callable[[int], None] | None = None) -> Experience:
    """Let an agent live and keep what it saw and did.

    Args:
        agent: built to watch `WATCH`.
        episodes: E, how many.
        steps: T, how many steps each at most.
        batch: how many worlds in parallel.
        seed: the worlds' seeds derive from it and the episode's number alone.
        on_progress: is told how many more episodes are done.
    """
    parts: list[Experience] = []
    for wave, first in enumerate(range(0, episodes, batch)):
        numbers = range(first, min(first + batch, episodes))
        lives = [Episode(n, derive_seed(seed, "collect", n) % SEED_RANGE) for n in numbers]
        parts.append(_collect_wave(agent, lives, steps, wave))
        if on_progress is not None:
            on_progress(len(lives))
    return joined(parts)


def joined(parts: Sequence[Experience]) -> Experience:
    """All episodes of several experiences that were collected alike."""
    told = [name for name in vars(parts[0]) if all(getattr(part, name) is not None for part in parts)]
    return Experience(**{name: torch.cat([getattr(part, name) for part in parts]) for name in told})


def _collect_wave(agent: Agent, lives: list[Episode], steps: int, wave: int) -> Experience:
    seen: list[Tensor] = []
    truth: list[Tensor] = []
    done: list[Tensor] = []
    reward: list[Tensor] = []
    ended: list[Tensor] = []
    lived = torch.full((len(lives),), steps)
    over = torch.zeros(len(lives), dtype=torch.bool)
    agent.reset(torch.ones(len(lives), dtype=torch.bool), lives, wave)
    for step in range(steps + 1):
        moment = agent.cycle()
        seen.append(moment["world.observation"])
        truth.append(moment["world.truth"])
        done.append(moment["actor.action"])
        reward.append(moment["world.reward"])
        ended.append(moment["world.terminated"])
        ends = (moment["world.terminated"] | moment["world.truncated"]) & ~over
        lived[ends] = step
        over |= ends
        if bool(over.all()):  # the rest is padding
            for column in (seen, truth, done, reward, ended):
                column += column[-1:] * (steps - step)
            break
    return Experience(torch.stack(seen, 1), torch.stack(done[:-1], 1), torch.stack(truth, 1), lived,
                      torch.stack(reward[1:], 1), 1.0 - torch.stack(ended[1:], 1).float())
