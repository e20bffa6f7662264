"""Positions of the tokens of an image or a clip: fixed sinusoids or rotations, in two or three dimensions.

Shapes: N rows of T tokens of width E, M kept tokens; a head of attention has width d.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

POSITIONS = ("learnt", "sincos", "rope")
SLOWEST = 10_000.0
"""The slowest wave's period is this many times the fastest's (Vaswani and others, 2017, section 3.5)."""


class Grid(NamedTuple):
    """The tokens of a clip, frame by frame and row by row.

    Attributes:
        times: the number of tubelets in time; 1 for an image.
        rows, columns: the number of patches along each side.
    """

    times: int
    rows: int
    columns: int

    @property
    def per_frame(self) -> int:
        """The number of tokens at one time."""
        return self.rows * self.columns

    @property
    def size(self) -> int:
        """T, the number of tokens."""
        return self.times * self.per_frame

    def places(self) -> Tensor:
        """Return time, row and column of each token, (T, 3) float32; without time, (T, 2), for an image."""
        sizes = self if self.times > 1 else self[1:]
        return torch.cartesian_prod(*(torch.arange(size, dtype=torch.float32) for size in sizes)).view(-1, len(sizes))


def sincos(grid: Grid, width: int) -> Tensor:
    """Return fixed embeddings (T, E): an equal share of sines and cosines for each dimension; the rest is 0."""
    places = grid.places()
    half = width // (2 * places.shape[1])
    angles = places[:, :, None] * _frequencies(half)
    found = torch.zeros(grid.size, width)
    waves = torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)
    found[:, :waves.shape[1]] = waves
    return found


class Rotary(nn.Module):
    """Rotates queries and keys by their token's position, so that attention depends on relative positions.

    Each dimension of the position turns an equal share of a head's pairs of numbers; the rest stays as it is (Su and others,
    *RoFormer*, 2021; in three dimensions Assran and others, *V-JEPA 2*, 2025, section 2.1).

    Args:
        grid: the tokens.
        width: d, the width of a head.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        places = grid.places()
        half = width // (2 * places.shape[1])
        angles = torch.zeros(grid.size, width // 2)
        turned = (places[:, :, None] * _frequencies(half)).flatten(1)
        angles[:, :turned.shape[1]] = turned
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def of(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines (…, T', 1, d / 2) for tokens (…, T') by number."""
        return self.cos[index].unsqueeze(-2), self.sin[index].unsqueeze(-2)


def rotated(vectors: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the pairs of numbers of queries or keys (N, T, heads, d)."""
    cos, sin = turn
    one, other = vectors.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([one * cos - other * sin, one * sin + other * cos], dim=-1).flatten(-2)


def _frequencies(count: int) -> Tensor:
    return SLOWEST ** (-torch.arange(count) / max(count, 1))
