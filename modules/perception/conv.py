"""Conv: a small convolutional encoder for small images.

Shapes: … any leading dimensions, H and W the image's sides, C its channels, D the percept's width, N images in all.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ami.blueprint import Perception
from ami.errors import require
from ami.module import callable_method
from ami.ports import Dims, Size
from modules.nets import mlp

PATCH, MAX_SIDE = 4, 64


class Conv(Perception):
    """Encodes byte images (…, H, W, C) as vectors (…, D): two convolutions, then two linear layers.

    The first convolution, 4 x 4 with stride 4, is computed as a linear map of non-overlapping patches: the same function,
    faster on a CPU. The second is 3 x 3 with stride 2.

    Args:
        width: D, the size of a percept.
        channels: features per position in both convolutions.
        hidden: width of the hidden linear layer.

    Raises:
        SettingError: a setting is below 1; or, when the graph is built, the observation is no image with sides divisible
            by 4 and at most 64.
    """

    inputs = {"observation": Perception.inputs["observation"].with_dtype(torch.uint8)}

    def __init__(self, width: int = 64, channels: int = 32, hidden: int = 256) -> None:
        super().__init__()
        for name, value in (("width", width), ("channels", channels), ("hidden", hidden)):
            require(value >= 1, f"Conv.{name} is {value}: expected 1 or more")
        self.width, self.channels, self.hidden = width, channels, hidden

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "O" in known:
            _check_picture(known["O"])
        return {"P": (self.width,)}

    def build(self, dims: Dims) -> None:
        height, width, colours = _check_picture(dims["O"])
        # 3 x 3 with stride 2 and padding 1: every second position, rounded up
        places = -(-height // PATCH // 2) * -(-width // PATCH // 2)
        self.patches = nn.Linear(PATCH * PATCH * colours, self.channels)
        self.convolution = nn.Conv2d(self.channels, self.channels, kernel_size=3, stride=2, padding=1)
        self.head = mlp(places * self.channels, self.hidden, self.width)

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Encode images (…, H, W, C) uint8 as percepts (…, D) float32."""
        *leading, height, width, colours = observation.shape
        rows, columns = height // PATCH, width // PATCH
        # (N, rows, 4, columns, 4, C) to (N, rows, columns, 4 · 4 · C), while they are still bytes
        patches = observation.reshape(-1, rows, PATCH, columns, PATCH, colours).transpose(2, 3)
        patches = patches.reshape(-1, rows, columns, PATCH * PATCH * colours)
        features = self.patches(patches.float().mul_(1 / 255).sub_(0.5)).relu_()
        features = self.convolution(features.permute(0, 3, 1, 2)).relu_()
        percept: Tensor = self.head(features.flatten(1))
        return percept.view(*leading, self.width)


def _check_picture(shape: Size) -> tuple[int, int, int]:
    height, width, colours = shape if isinstance(shape, tuple) and len(shape) == 3 else (0, 0, 0)
    require(all(side % PATCH == 0 and PATCH <= side <= MAX_SIDE for side in (height, width)),
            f"Conv receives observations of shape {shape}: expected images (H, W, C), H and W divisible by {PATCH} and "
            f"at most {MAX_SIDE}. Fix: a world with such images, or perception=identity for vectors")
    return height, width, colours
