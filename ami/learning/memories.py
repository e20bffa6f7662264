"""Memories: what a frozen mind makes of its experience, for parts that learn from states instead of observations.

The paper lets the critic learn from the memory's triplets of time, state and intrinsic energy, of perceived and of
imagined states (section 3.3). The energy is not stored here: it depends on the goal, which hindsight chooses anew in every
batch (Andrychowicz and others, *Hindsight Experience Replay*, 2017), so the cost computes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ami.blueprint import Perception, WorldModel
from ami.learning.experience import Experience

FRAMES_AT_ONCE = 1024


@dataclass(frozen=True)
class Memories:
    """F perceived states, episode after episode, each with what follows from it.

    Attributes:
        state: (F, *S).
        successors: (F, 1 + M, *S): the state perceived next, then M imagined ones.
        first: (F,), the index of the first later state of the same episode.
        last: (F,), the index of its last state; a row with first > last has no future and is never drawn.
    """

    state: Tensor
    successors: Tensor
    first: Tensor
    last: Tensor

    def draw(self, batch: int) -> dict[str, Tensor]:
        """N states with a future, and for each a later state of its own episode as the goal in hindsight.

        Returns:
            "state" (N, *S), "successors" (N, 1 + M, *S), "goal" (N, *S). Drawn from torch's global stream.
        """
        alive = (self.first <= self.last).nonzero()[:, 0]
        index = alive[torch.randint(len(alive), (batch,))]
        span = self.last[index] - self.first[index] + 1
        goal = self.first[index] + (torch.rand(batch) * span).long()
        return {"state": self.state[index], "successors": self.successors[index], "goal": self.state[goal]}


@torch.no_grad()
def remember(experience: Experience, perception: Perception, world_model: WorldModel, imagined: int) -> Memories:
    """Perceive all experience and imagine `imagined` (M) one-step futures of every state."""
    steps = experience.steps.tolist()
    frames = torch.cat([experience.observation[e, : n + 1] for e, n in enumerate(steps)])
    states = torch.cat([world_model.believe(perception.encode(part)) for part in frames.split(FRAMES_AT_ONCE)])
    last = torch.cat([torch.full((n + 1,), end) for n, end in zip(steps, _ends(steps), strict=True)])
    first = torch.arange(len(states)) + 1
    following = states[torch.minimum(first, last)][:, None]
    actions = directions(imagined, experience.action.shape[-1])[:, None]
    futures = torch.cat([
        world_model.rollout(part, actions.expand(len(part), *actions.shape)).states[:, :, 0]
        for part in states.split(FRAMES_AT_ONCE)]) if imagined else following[:, :0]
    return Memories(states, torch.cat([following, futures], dim=1), first, last)


def directions(count: int, width: int) -> Tensor:
    """`count` actions of length 1 that point in different directions, (count, A).

    Evenly around the circle for A = 2, both ways for A = 1, else random but always the same ones.
    """
    if width == 2:
        angle = torch.arange(count) * (2 * math.pi / max(count, 1))
        return torch.stack([angle.cos(), angle.sin()], dim=-1)
    draws = torch.randn(count, width, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(draws, dim=-1)


def _ends(steps: list[int]) -> list[int]:
    ends, total = [], -1
    for count in steps:
        total += count + 1
        ends.append(total)
    return ends
