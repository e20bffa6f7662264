"""States of recorded episodes, with their history: what probes, prediction errors and hindsight are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Perception, WorldModel, preceding
from ami.learning.experience import Experience

FRAMES_AT_ONCE = 1024


@torch.no_grad()
def percepts_of(experience: Experience, perception: Perception) -> Tensor:
    """Encode every observation, (F, *P), in the order of `experience.frames()`."""
    return torch.cat([perception.encode(part) for part in experience.frames().split(FRAMES_AT_ONCE)])


@torch.no_grad()
def states_of(experience: Experience, percepts: Tensor, world_model: WorldModel) -> Tensor:
    """Return the state (F, *S) at every percept (F, *P) of `percepts_of`: whole episodes go through `observe`."""
    longest = experience.action.shape[1]
    first = (experience.steps + 1).cumsum(0) - (experience.steps + 1)
    at = torch.minimum(torch.arange(longest + 1)[None], experience.steps[:, None])  # (E, T + 1), padded with the last
    states = []
    for episodes in torch.arange(len(first)).split(max(1, FRAMES_AT_ONCE // (longest + 1))):
        found, _ = world_model.observe(percepts[first[episodes, None] + at[episodes]],
                                       preceding(experience.action[episodes]))
        states.append(found[torch.arange(longest + 1)[None] <= experience.steps[episodes, None]])
    return torch.cat(states)
