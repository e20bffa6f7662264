"""Pictures: what perceptions of pictures of any size have in common.

Shapes: … any leading dimensions, H and W the picture's sides, C its colours; a picture without colours is (H, W).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ami.errors import SettingError
from ami.module import Batch
from ami.ports import Size

FRAMES_AT_ONCE = 1024
SMALLEST_SPREAD = 1e-6


def picture_shape(shape: Size, who: str) -> tuple[int, int, int]:
    """(H, W, C) of an observation.

    Raises:
        SettingError: it is no picture.
    """
    if isinstance(shape, tuple) and len(shape) in (2, 3) and min(shape) >= 1:
        height, width, colours = (*shape, 1)[:3]
        return height, width, colours
    raise SettingError(f"{who} sees observations of shape {shape}: expected pictures (H, W, C) or (H, W). "
                       "Fix: perception=vector, or let the world draw pictures")


class Colours(nn.Module):
    """Bytes or numbers of any scale, as colours that vary around 0 by 1 each: (…, H, W, C) or (…, H, W) to (N, C, H, W).

    Until `measure` has seen experience, bytes are 0 to 1 and other numbers stay as they are.

    Args:
        shape: of a picture.
        who: what an error calls the perception.
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
        return ((self._numbers(pictures) - self.mean) / self.spread).permute(0, 3, 1, 2)

    def leading(self, pictures: Tensor) -> torch.Size:
        """The sizes before those of a picture."""
        return pictures.shape[: pictures.ndim - self.sizes]

    def measure(self, batch: Batch) -> None:
        """Mean and spread of each colour over "observation" (F, *O); one that never varies keeps its unit."""
        parts = batch["observation"].split(FRAMES_AT_ONCE)
        sums = [torch.stack([one.sum((0, 1, 2)), one.square().sum((0, 1, 2))])
                for one in (self._numbers(part).double() for part in parts)]
        height, width, _ = self.shape
        mean, square = torch.stack(sums).sum(0) / (len(batch["observation"]) * height * width)
        spread = (square - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.spread.copy_(torch.where(spread > SMALLEST_SPREAD, spread, 1.0))

    def _numbers(self, pictures: Tensor) -> Tensor:
        """To (N, H, W, C) float32; bytes become 0 to 1."""
        numbers = pictures.reshape(-1, *self.shape).to(torch.float32)
        return numbers / 255 if pictures.dtype == torch.uint8 else numbers
