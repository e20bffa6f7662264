"""Samplers of masks: which tokens are the context, and which are to be predicted from it.

Shapes: N rows, T tokens on a grid, M kept tokens, G groups of L wanted tokens. Numbers are drawn from torch's global
generator, which the trainer seeds and saves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ami.errors import SettingError, require
from modules.perception._positions import Grid

TRIES = 20
"""Draws of block sizes, each with as many draws of places, before a grid is refused."""
SMALLEST_CONTEXT = 0.05
"""The least share of the tokens that a context holds; at least one token."""


class Masks(NamedTuple):
    """One draw for a batch.

    Attributes:
        keep: numbers of the tokens of the context, (N, M).
        want: numbers of the tokens to predict, (N, G, L); no context holds one of its row.
    """

    keep: Tensor
    want: Tensor


class MaskSampler:
    """The base class of samplers."""

    def sample(self, grid: Grid, count: int) -> list[Masks]:
        """Return one draw for `count` rows per family of masks.

        Raises:
            SettingError: the grid is too small for these masks.
        """
        raise NotImplementedError


@dataclass
class RandomMasks(MaskSampler):
    """Wants a random share of the tokens; the others are the context (He and others, *MAE*, 2022, section 3).

    Args:
        share: the share of tokens to predict.

    Raises:
        SettingError: the share is not between 0 and 1.
    """

    share: float = 0.75

    def __post_init__(self) -> None:
        require(0 < self.share < 1, f"RandomMasks.share is {self.share}: expected more than 0 and less than 1")

    def sample(self, grid: Grid, count: int) -> list[Masks]:
        _require_tokens(self, grid)
        order = torch.rand(count, grid.size).argsort(1)
        kept = min(max(1, round((1 - self.share) * grid.size)), grid.size - 1)
        return [Masks(order[:, :kept], order[:, kept:].unsqueeze(1))]


@dataclass
class BlockMasks(MaskSampler):
    """Wants several blocks; the context is one large block without them (Assran and others, *I-JEPA*, 2023, section 3).

    Each wanted block is a group of its own. Blocks of a batch have one size and lie anywhere, the last row and column
    included. Of contexts longer than the batch's shortest, tokens are left out at random. In a clip blocks span all times.

    Args:
        num_blocks: the number of wanted blocks.
        scale: smallest and largest share of the tokens in a wanted block.
        aspect: smallest and largest ratio of a wanted block's height to its width.
        context_scale: smallest and largest share of the tokens in the context's block, which is as high as wide.

    Raises:
        SettingError: a setting is out of its range.
    """

    num_blocks: int = 4
    scale: Sequence[float] = (0.15, 0.2)
    aspect: Sequence[float] = (0.75, 1.5)
    context_scale: Sequence[float] = (0.85, 1.0)

    def __post_init__(self) -> None:
        require(self.num_blocks >= 1, f"BlockMasks.num_blocks is {self.num_blocks}: expected 1 or more")
        for name in ("scale", "aspect", "context_scale"):
            _require_range(self, name, math.inf if name == "aspect" else 1)

    def sample(self, grid: Grid, count: int) -> list[Masks]:
        _require_tokens(self, grid)
        enough = _least_context(grid)
        for _ in range(TRIES):
            size, around = _block(grid, self.scale, self.aspect), _block(grid, self.context_scale, (1.0, 1.0))
            for row_tries in range(TRIES):
                if not row_tries:
                    blocks, context = _places(grid, size, count, self.num_blocks), _places(grid, around, count, 1)
                    left = torch.arange(count)
                else:
                    blocks[left] = _places(grid, size, len(left), self.num_blocks)
                    context[left] = _places(grid, around, len(left), 1)
                free = _covered(grid, context) & ~_covered(grid, blocks)
                left = (free.sum(1) < enough).nonzero()[:, 0]
                if not len(left):
                    return [_through_time(grid, _some(free), blocks)]
        raise _too_small(self, grid)


@dataclass
class MultiBlockMasks(MaskSampler):
    """Wants the union of several blocks that span the whole clip in time; the rest is the context (V-JEPA, section 3.2).

    Every step has all families of masks: by default many short-range blocks, and few long-range ones.

    Args:
        num_blocks: the number of blocks in each family.
        scale: the share of a frame's tokens in a block of each family.
        aspect: smallest and largest ratio of a block's height to its width.

    Raises:
        SettingError: a setting is out of its range, or there are not as many numbers as shares.
    """

    num_blocks: Sequence[int] = (8, 2)
    scale: Sequence[float] = (0.15, 0.7)
    aspect: Sequence[float] = (0.75, 1.5)

    def __post_init__(self) -> None:
        require(len(self.num_blocks) == len(self.scale) > 0 and min(self.num_blocks) >= 1,
                f"MultiBlockMasks.num_blocks is {list(self.num_blocks)} and scale {list(self.scale)}: expected one "
                "number of blocks, 1 or more, for each share")
        require(all(0 < share < 1 for share in self.scale),
                f"MultiBlockMasks.scale is {list(self.scale)}: expected shares, each more than 0 and less than 1")
        _require_range(self, "aspect", math.inf)

    def sample(self, grid: Grid, count: int) -> list[Masks]:
        _require_tokens(self, grid)
        return [self._family(grid, count, number, share)
                for number, share in zip(self.num_blocks, self.scale, strict=True)]

    def _family(self, grid: Grid, count: int, number: int, share: float) -> Masks:
        enough = _least_context(grid)
        for _ in range(TRIES):
            size = _block(grid, (share, share), self.aspect)
            covered = _covered(grid, _places(grid, size, count, number))
            for _ in range(TRIES):
                left = ((~covered).sum(1) < enough).nonzero()[:, 0]
                if not len(left):
                    return _through_time(grid, _some(~covered), _some(covered).unsqueeze(1))
                covered[left] = _covered(grid, _places(grid, size, len(left), number))
        raise _too_small(self, grid)


def _block(grid: Grid, scale: Sequence[float], aspect: Sequence[float]) -> tuple[int, int]:
    """Draw the height and width of a block, which fit into the grid."""
    share, ratio = (low + (high - low) * float(torch.rand(())) for low, high in (scale, aspect))
    area = share * grid.per_frame
    return (min(max(round(math.sqrt(area * ratio)), 1), grid.rows),
            min(max(round(math.sqrt(area / ratio)), 1), grid.columns))


def _places(grid: Grid, size: tuple[int, int], count: int, number: int) -> Tensor:
    """Draw the token numbers (count, number, height · width) of blocks; the last row and column are reached too."""
    height, width = size
    top = torch.randint(grid.rows - height + 1, (count, number, 1, 1)) + torch.arange(height)[:, None]
    left = torch.randint(grid.columns - width + 1, (count, number, 1, 1)) + torch.arange(width)
    return (top * grid.columns + left).flatten(2)


def _covered(grid: Grid, blocks: Tensor) -> Tensor:
    """Return which tokens of a frame blocks cover, (count, rows · columns)."""
    covered = torch.zeros(len(blocks), grid.per_frame, dtype=torch.bool)
    return covered.scatter_(1, blocks.flatten(1), True)


def _some(allowed: Tensor) -> Tensor:
    """Return as many token numbers per row (count, M) as every row allows, in ascending order.

    Those left out are random: leaving out the last ones, as the published code does, would train the end of an image less.
    """
    least = int(allowed.sum(1).min())
    return torch.where(allowed, torch.rand(allowed.shape), -1.0).topk(least, 1).indices.sort(1).values


def _through_time(grid: Grid, keep: Tensor, want: Tensor) -> Masks:
    """Repeat the token numbers of a frame, (N, M) and (N, G, L), at all times of the clip."""
    shifts = grid.per_frame * torch.arange(grid.times)[:, None]
    return Masks((keep[:, None] + shifts).flatten(1), (want[:, :, None] + shifts).flatten(2))


def _least_context(grid: Grid) -> int:
    return max(1, int(SMALLEST_CONTEXT * grid.per_frame))


def _require_tokens(sampler: MaskSampler, grid: Grid) -> None:
    if grid.per_frame < 2:
        raise _too_small(sampler, grid)


def _require_range(sampler: MaskSampler, name: str, most: float) -> None:
    found = getattr(sampler, name)
    require(len(found) == 2 and 0 < found[0] <= found[1] <= most,
            f"{type(sampler).__name__}.{name} is {list(found)}: expected [smallest, largest], more than 0"
            + f" and at most {most:g}" * (most < math.inf))


def _too_small(sampler: MaskSampler, grid: Grid) -> SettingError:
    return SettingError(f"{type(sampler).__name__} finds no context on a grid of {grid.rows} x {grid.columns} patches: "
                        "expected blocks that leave some patches free. Fix: a smaller perception.patch, or fewer or smaller "
                        "blocks")
