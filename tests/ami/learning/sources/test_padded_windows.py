"""Padded windows: episodes of any length, from their first step or up to their last."""

import torch

from ami.data.replay_buffer import ReplayBuffer
from ami.learning.sources.padded_windows import PaddedWindows, padded
from ami.learning.sources.source import Supply


def experience(lengths: list[int]) -> ReplayBuffer:
    """Return episodes whose observation is the number of the step, terminated at their end."""
    buffer = ReplayBuffer()
    for length in lengths:
        steps = torch.arange(length + 1)
        action = (steps < length).float()[:, None]
        buffer.append({"observation": steps[:, None].float(), "action": action, "reward": steps.float(),
                       "terminated": steps == length})
    return buffer


def test_a_short_episode_is_padded_with_its_last_observation():
    found = padded(experience([2, 5]), torch.tensor([0]), torch.tensor([0]), 4)
    assert found["observation"][0, :, 0].tolist() == [0, 1, 2, 2, 2]
    assert found["valid"].tolist() == [[1, 1, 0, 0]]
    assert found["action"][0, :, 0].tolist() == [1, 1, 0, 0]
    assert found["reward"].tolist() == [[1, 2, 0, 0]]
    assert found["cont"][0, :2].tolist() == [1, 0]


def test_windows_end_at_the_last_step_or_lie_anywhere():
    def ends(share: float) -> set[float]:
        draw = PaddedWindows(length=3, terminal_share=share).open(Supply("model", 200, 1, experience([6]), {}))
        return {float(window[-1, 0]) for window in draw(0)["observation"]}

    assert ends(1.0) == {6}
    assert ends(0.0) == {3, 4, 5, 6}
