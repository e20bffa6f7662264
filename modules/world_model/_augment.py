"""Augmentation of windows of pictures: another camera, light, tint and table for each window, the same for all its frames.

Shapes: N windows of L pictures (H, W, 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.errors import require

SHIFT = 5
"""The most px that a picture is shifted; its edge is repeated."""
LIGHT, SLOPE, TINT, CONTRAST = 0.45, 0.4, 0.15, 0.2
"""The largest changes, as shares of a pixel's value: of all light, of light across a picture, of a channel, of a pattern."""
PERIODS = 1.5, 8.0
"""The least and most waves of the pattern across the picture."""


def augmented(pictures: Tensor) -> Tensor:
    """Return pictures (N, L, H, W, 3) float32 in [0, 1], drawn from torch's global stream.

    Args:
        pictures: (N, L, H, W, 3) uint8.

    Raises:
        SettingError: they are no such pictures.
    """
    require(pictures.dtype == torch.uint8 and pictures.ndim == 5 and pictures.shape[-1] == 3,
            f"augmentation receives {pictures.dtype} of shape {tuple(pictures.shape)}: expected windows of byte pictures "
            "(N, L, H, W, 3). Fix: loss: world_model.eyes")
    number, _, height, width, _ = pictures.shape
    along = [(torch.arange(side) + torch.randint(-SHIFT, SHIFT + 1, (number, 1))).clamp(0, side - 1)
             for side in (height, width)]
    moved = pictures.permute(0, 2, 3, 1, 4)[torch.arange(number)[:, None, None], along[0][:, :, None], along[1][:, None]]
    light = _light(number, height, width)[..., None, None] * (1 + TINT * _signed(number, 1, 1, 1, 3))
    return (moved.float() / 255 * light).clamp(0, 1).permute(0, 3, 1, 2, 4)


def _light(number: int, height: int, width: int) -> Tensor:
    """Return factors (N, H, W): a level, a slope, and a wave that is smooth or, for half of the windows, has edges."""
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)

    def one(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(number, 1, 1)

    level, across, down = 1 + LIGHT * _signed(number, 1, 1), *(SLOPE * _signed(number, 1, 1) for _ in range(2))
    turns = [one(*PERIODS) * torch.pi * sign.sign() for sign in (_signed(number, 1, 1), _signed(number, 1, 1))]
    first, second = (torch.sin(turns[0] * x * mix[0] + turns[1] * y * mix[1] + one(0, 6.3))
                     for mix in ((one(0, 1), one(0, 1)), (one(0, 1), one(0, 1))))
    wave = torch.where(one(0, 1) < 0.5, first, first * second)
    wave = torch.where(one(0, 1) < 0.5, wave, wave.sign())
    return level * (1 + across * x + down * y) * (1 + one(0, CONTRAST) * wave)


def _signed(*shape: int) -> Tensor:
    return torch.rand(shape) * 2 - 1
