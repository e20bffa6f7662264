"""Padded windows: windows of episodes of any length, for models and memories that learn from a whole history."""

from __future__ import annotations

import torch
from torch import Tensor

from ami.data.replay_buffer import ACTION, OBSERVATION, REWARD, TERMINATED, ReplayBuffer
from ami.learning.sources.source import Draw, Supply
from ami.learning.sources.windows import Windows

VALID = "valid"


class PaddedWindows(Windows):
    """As `Windows`, with "valid" (N, T): an episode shorter than T steps is one window from its first step, padded.

    Padded steps are 0 in "valid", their action and reward are 0 and their observation is the episode's last. An episode of
    T steps or more is drawn as often as others; its window ends at the episode's last step with the probability
    `terminal_share`, else anywhere.

    Args:
        length: T, the number of actions of a window.
        terminal_share: see above.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, length: int = 32, terminal_share: float = 0.5) -> None:
        super().__init__(length, terminal_share)

    def open(self, supply: Supply) -> Draw:
        experience, batch = supply.experience, supply.batch

        def draw(step: int) -> dict[str, Tensor]:
            episode = torch.randint(experience.num_episodes, (batch,))
            last = (experience.steps[episode] - self.length).clamp(min=0)
            anywhere = (torch.rand(batch) * (last + 1)).long()
            return padded(experience, episode, torch.where(torch.rand(batch) < self.terminal_share, last, anywhere),
                          self.length)

        return draw


def padded(experience: ReplayBuffer, episode: Tensor, start: Tensor, length: int) -> dict[str, Tensor]:
    """Return windows that begin at steps (N,) of episodes (N,), as `PaddedWindows` draws them."""
    steps = start[:, None] + torch.arange(length + 1)
    left = experience.steps[episode, None]
    rows = experience.first[episode, None] + torch.minimum(steps, left)
    valid = (steps[:, 1:] <= left).float()
    found = {OBSERVATION: experience.rows(OBSERVATION, rows), VALID: valid,
             ACTION: experience.rows(ACTION, rows[:, :-1]) * valid[..., None]}
    if REWARD in experience.columns:
        found[REWARD] = experience.rows(REWARD, rows[:, 1:]) * valid
    if TERMINATED in experience.columns:
        found["cont"] = 1.0 - experience.rows(TERMINATED, rows[:, 1:]).float()
    return found
