"""Action effort: the mean square of an action, 0 without one."""

import torch

from ami.blueprint import Prediction
from modules.cost.action_effort import ActionEffort


def test_it_is_the_mean_square_of_each_action():
    actions = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])
    imagined = Prediction(torch.zeros(1, 1, 2, 3))
    assert torch.equal(ActionEffort().energy(imagined, actions, torch.zeros(1, 1, 1, 3), torch.dist),
                       torch.tensor([[[0.5, 0.25]]]))


def test_perceived_state_has_energy_0():
    perceived = Prediction(torch.zeros(2, 3))
    assert torch.equal(ActionEffort().energy(perceived, None, torch.zeros(2, 3), torch.dist), torch.zeros(2))


def test_it_is_immutable():
    assert list(ActionEffort().parameters()) == []
