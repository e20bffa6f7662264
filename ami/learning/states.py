"""States of recorded episodes, with their history: what probes, prediction errors and hindsight are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Perception, WorldModel, preceding
from ami.data.replay_buffer import ACTION, FRAMES_AT_ONCE, ReplayBuffer


@torch.no_grad()
def percepts_of(experience: ReplayBuffer, perception: Perception) -> Tensor:
    """Encode every observation, (F, *P), in the order of `experience.frames()`."""
    return torch.cat([perception.encode(part) for part in experience.frames(FRAMES_AT_ONCE)])


@torch.no_grad()
def states_of(experience: ReplayBuffer, percepts: Tensor, world_model: WorldModel) -> Tensor:
    """Return the state (F, *S) at every percept (F, *P) of `percepts_of`: whole episodes go through `observe`."""
    longest = int(experience.steps.max())
    first = (experience.steps + 1).cumsum(0) - (experience.steps + 1)
    at = torch.minimum(torch.arange(longest + 1)[None], experience.steps[:, None])  # (E, T + 1), padded with the last
    states = []
    for episodes in torch.arange(len(first)).split(max(1, FRAMES_AT_ONCE // (longest + 1))):
        actions = experience.rows(ACTION, experience.first[episodes, None] + at[episodes, :longest])
        found, _ = world_model.observe(percepts[first[episodes, None] + at[episodes]], preceding(actions))
        states.append(found[torch.arange(longest + 1)[None] <= experience.steps[episodes, None]])
    return torch.cat(states)
