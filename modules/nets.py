"""Small networks that several modules share."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ami.errors import require


def mlp(*sizes: int) -> nn.Sequential:
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
    return nn.Sequential(*layers[:-1])
