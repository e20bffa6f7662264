"""States of recorded episodes, with their history: what probes, prediction errors and hindsight are made of."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ami.blueprint import Perception, WorldModel, preceding
from ami.data.column import Column
from ami.data.replay_buffer import ACTION, FRAMES_AT_ONCE, ReplayBuffer
from ami.data.scratch import Scratch


@torch.no_grad()
def percepts_of(experience: ReplayBuffer, perception: Perception, scratch: Scratch | None = None) -> Column:
    """Encode every observation, (F, *P), in the order of `experience.frames()`; stored in `scratch`, or in memory."""
    encoded = (perception.encode(part) for part in experience.frames(FRAMES_AT_ONCE))
    return (scratch or Scratch()).column(encoded, experience.num_frames)


@torch.no_grad()
def states_of(experience: ReplayBuffer, percepts: Column, world_model: WorldModel, scratch: Scratch | None = None) -> Column:
    """Return the state (F, *S) at every percept (F, *P) of `percepts_of`: whole episodes go through `observe`."""
    return (scratch or Scratch()).column(_states(experience, percepts, world_model), experience.num_frames)


def _states(experience: ReplayBuffer, percepts: Column, world_model: WorldModel) -> Iterator[Tensor]:
    longest = int(experience.steps.max())
    first = (experience.steps + 1).cumsum(0) - (experience.steps + 1)
    at = torch.minimum(torch.arange(longest + 1)[None], experience.steps[:, None])  # (E, T + 1), padded with the last
    for episodes in torch.arange(len(first)).split(max(1, FRAMES_AT_ONCE // (longest + 1))):
        actions = experience.rows(ACTION, experience.first[episodes, None] + at[episodes, :longest])
        found, _ = world_model.observe(percepts.rows(first[episodes, None] + at[episodes]), preceding(actions))
        yield found[torch.arange(longest + 1)[None] <= experience.steps[episodes, None]]
