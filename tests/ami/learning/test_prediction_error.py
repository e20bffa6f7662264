import math

import pytest
import torch

from ami.blueprint import Prediction
from ami.data.replay_buffer import ReplayBuffer
from ami.learning.prediction_error import error_vs_persistence
from modules.world_model.markov import MarkovWorldModel


class Eye:
    def encode(self, observation):
        return observation


class Model(MarkovWorldModel):
    """Predicts that every action moves the state by `pace` of itself."""

    def __init__(self, pace: float) -> None:
        super().__init__()
        self.pace = pace

    def state_of(self, percept):
        return percept

    def imagine(self, state, actions, noise=None):
        return Prediction(state[:, None, None] + self.pace * actions.cumsum(2))

    def distance(self, states, goal):
        return (states - goal).norm(dim=-1)


def episodes(steps: list[int], moves: float = 1.0) -> ReplayBuffer:
    action = torch.ones(len(steps), 12, 2)
    walked = torch.cat([torch.zeros(len(steps), 1, 2), moves * action.cumsum(1)], 1)
    return ReplayBuffer.of_padded(walked, action, torch.tensor(steps))


@pytest.mark.parametrize("pace, share", [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (3.0, 2.0)])
def test_error_is_relative_to_the_distance_moved_within_the_horizon(pace: float, share: float) -> None:
    assert error_vs_persistence(episodes([12, 6]), Eye(), Model(pace)) == pytest.approx(share, abs=1e-6)


def test_collapsed_states_and_short_episodes_have_no_error() -> None:
    assert math.isnan(error_vs_persistence(episodes([12], moves=0.0), Eye(), Model(1.0)))
    assert math.isnan(error_vs_persistence(episodes([4]), Eye(), Model(1.0)))
