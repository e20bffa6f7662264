"""Reward: its negative as energy; an unknown reward is refused, never 0."""

import pytest
import torch

import ami
from ami.blueprint import Prediction
from ami.config.compose import to_graph
from ami.errors import GraphError, SettingError
from ami.testing import check_cost
from ami.testing.subject import Subject
from modules.cost.reward import Reward
from modules.cost.weighted_sum import WeightedSum


def test_contract():
    check_cost(lambda: WeightedSum({"reward": Reward()}))


def test_energy_is_the_negative_reward():
    cost = Subject(lambda: WeightedSum({"reward": Reward()}), {"S": (1,)}).fresh([0, 1])
    outputs = cost.step(torch.zeros(2, 1), torch.zeros(2, 1), None, torch.tensor([3.0, -1.0]))
    assert outputs["intrinsic"].tolist() == [-3.0, 1.0]
    imagined = Prediction(torch.zeros(2, 1, 2, 1), reward=torch.tensor([[[1.0, 2.0]], [[0.0, -4.0]]]))
    assert cost.energy(imagined, torch.zeros(2, 1, 2, 2), torch.zeros(2, 1)).tolist() == [[-3.0], [4.0]]


def test_unknown_reward_is_refused():
    with pytest.raises(SettingError, match=r"needs the reward of states without one: .*Fix: "
                                           r"world_model\.rewards=true, or in a model of your own `reward` in the"):
        Reward().energy(Prediction(torch.zeros(2, 1)), None, torch.zeros(2, 1), lambda one, other: one[..., 0])


def test_wire_from_the_worlds_reward_is_required():
    with pytest.raises(GraphError, match=r"cost\.reward is required and not wired|cost\.reward"):
        to_graph(ami.compose(["experiment=cartpole", "~graph.cost.reward"]))
