"""Shared parts of perceptions for images of any size.

Shapes: … any leading dimensions, H and W the image's sides, C its channels; an image without channels is (H, W).
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ami.errors import SettingError
from ami.module import Batch
from ami.ports import Size

FRAMES_AT_ONCE = 1024
SMALLEST_SPREAD = 1e-6


def picture_shape(shape: Size, who: str) -> tuple[int, int, int]:
    """Return (H, W, C) of an observation.

    Raises:
        SettingError: it is no image.
    """
    if isinstance(shape, tuple) and len(shape) in (2, 3) and min(shape) >= 1:
        height, width, colours = (*shape, 1)[:3]
        return height, width, colours
    raise SettingError(f"{who} receives observations of shape {shape}: expected images (H, W, C) or (H, W). "
                       "Fix: perception=vector, or a world with images")


class Colours(nn.Module):
    """Standardises the channels of images of any dtype: (…, H, W, C) or (…, H, W) to (N, C, H, W), mean 0, deviation 1.

    Until `fit_statistics` has received experience, bytes are scaled to [0, 1] and other numbers are unchanged.

    Args:
        shape: shape of an image.
        who: name of the perception in an error.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, shape: Size, who: str) -> None:
        super().__init__()
        self.shape = picture_shape(shape, who)
        self.sizes = len(shape) if isinstance(shape, tuple) else 1
        self.register_buffer("mean", torch.zeros(self.shape[-1]))
        self.register_buffer("spread", torch.ones(self.shape[-1]))

    def forward(self, pictures: Tensor) -> Tensor:
        numbers = self._numbers(pictures)
        # In place where the numbers are a copy: every pass over a batch of images costs as much as a small layer.
        centred = numbers - self.mean if pictures.dtype == torch.float32 else numbers.sub_(self.mean)
        return centred.div_(self.spread).permute(0, 3, 1, 2)

    def leading(self, pictures: Tensor) -> torch.Size:
        """Return the leading dimensions, before those of an image."""
        return pictures.shape[: pictures.ndim - self.sizes]

    def fit_statistics(self, batch: Batch) -> None:
        """Set mean and standard deviation of each channel from "observation" (F, *O); a constant channel is not scaled."""
        parts = batch["observation"].split(FRAMES_AT_ONCE)
        sums = [torch.stack([one.sum((0, 1, 2)), one.square().sum((0, 1, 2))])
                for one in (self._numbers(part).double() for part in parts)]
        count = prod(batch["observation"].shape) / self.shape[-1]  # an observation may be a stack of images
        mean, square = torch.stack(sums).sum(0) / count
        spread = (square - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.spread.copy_(torch.where(spread > SMALLEST_SPREAD, spread, 1.0))

    def _numbers(self, pictures: Tensor) -> Tensor:
        """Reshape to (N, H, W, C) float32; bytes are scaled to [0, 1]."""
        numbers = pictures.reshape(-1, *self.shape).to(torch.float32)
        return numbers.div_(255) if pictures.dtype == torch.uint8 else numbers
