"""Small networks: their layers and refused sizes."""

import pytest
import torch
from torch import nn

from ami.errors import SettingError
from modules.nets import follow, mlp, target_of


def test_mlp_has_relu_between_layers_only():
    net = mlp(5, 7, 3)
    assert [type(layer) for layer in net] == [nn.Linear, nn.ReLU, nn.Linear]
    assert net(torch.zeros(2, 4, 5)).shape == (2, 4, 3)


def test_mlp_computes_its_layers_and_changes_no_input():
    net, given = mlp(5, 7, 6, 3), torch.randn(2, 4, 5)
    kept = given.clone()
    assert torch.equal(net(given), nn.Sequential(*net)(given))
    assert torch.equal(given, kept)


@pytest.mark.parametrize("sizes", [(5,), (), (5, 0)])
def test_invalid_sizes_are_refused(sizes):
    with pytest.raises(SettingError) as error:
        mlp(*sizes)
    assert str(error.value) == f"mlp{sizes}: expected two or more sizes, each 1 or more"


def test_a_target_follows_without_gradients_and_copies_buffers():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    target = target_of(net)
    assert not any(parameter.requires_grad for parameter in target.parameters())
    before = target[0].weight.clone()
    with torch.no_grad():
        net[0].weight += 1
    net(torch.randn(8, 2))
    follow(target, net, 0.25)
    assert torch.equal(target[0].weight, torch.lerp(before, net[0].weight, 0.25))
    assert torch.equal(target[1].running_mean, net[1].running_mean)
