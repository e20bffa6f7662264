"""Small networks that several modules share, and their EMA copies."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.errors import require

Net = TypeVar("Net", bound=nn.Module)


class MLP(nn.Sequential):
    """Linear layers with ReLU between them, as one function: half the time of `nn.Sequential` for few rows on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (…, the first layer's inputs) to (…, the last layer's outputs)."""
        *before, last = [layer for layer in self._modules.values() if isinstance(layer, nn.Linear)]
        for layer in before:
            input = F.linear(input, layer.weight, layer.bias).relu_()
        return F.linear(input, last.weight, last.bias)


def mlp(*sizes: int) -> MLP:
    """A multilayer perceptron: linear layers of the given sizes with ReLU between them, none after the last.

    Args:
        sizes: input, hidden and output sizes, e.g. `mlp(66, 256, 64)`: (…, 66) to (…, 64).

    Raises:
        SettingError: fewer than two sizes, or one below 1.
    """
    require(len(sizes) >= 2 and min(sizes) >= 1, f"mlp{sizes}: expected two or more sizes, each 1 or more")
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return MLP(*layers[:-1])


def target_of(net: Net) -> Net:
    """Return a copy of a network without gradients, for targets that follow it slowly; see `follow`."""
    return deepcopy(net).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, net: nn.Module, share: float) -> None:
    """Move the parameters of a target network towards the network's: an EMA (soft update; Lillicrap and others, 2015).

    Args:
        target: as `target_of` returned it; its buffers are copied.
        net: the learning network.
        share: the share of the network's parameters, 0 to 1; the target's momentum is 1 - share.
    """
    for slow, fast in zip(target.parameters(), net.parameters(), strict=True):
        slow.lerp_(fast, share)
    for kept, current in zip(target.buffers(), net.buffers(), strict=True):
        kept.copy_(current)
