"""Frames and clips: observations without actions, for perceptions that learn alone."""

from __future__ import annotations

import torch

from ami.data.replay_buffer import OBSERVATION
from ami.learning.sources.source import Draw, Source, Supply
from ami.learning.sources.windows import Windows


class Frames(Source):
    """Single observations, "observation" (N, *O), drawn evenly from all of them."""


    def open(self, supply: Supply) -> Draw:
        experience = supply.experience
        first = int(experience.first[0]) if experience.num_episodes else 0
        return lambda step: {OBSERVATION: experience.rows(
            OBSERVATION, first + torch.randint(experience.num_frames, (supply.batch,)))}


class Clips(Windows):
    """T + 1 successive observations, "observation" (N, T + 1, *O), without actions."""


    def open(self, supply: Supply) -> Draw:
        return self.drawn(supply, lambda starts: {
            OBSERVATION: supply.experience.windows(starts, self.length)[OBSERVATION]})
