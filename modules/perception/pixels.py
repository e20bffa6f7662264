"""Pixels: a convolutional encoder for images of any size, from a grid of 3 x 3 symbols to a camera.

Shapes: … any leading dimensions, H and W the image's sides, C its channels, D the percept's width, N images in all.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ami.blueprint import Perception
from ami.errors import require
from ami.module import Batch, callable_method
from ami.ports import Dims, Size
from modules.nets import mlp
from modules.perception.pictures import Colours, picture_shape

KERNELS = {1: 3, 2: 3, 4: 5}
"""The side of a kernel, by its stride: neighbouring kernels overlap."""


class Pixels(Perception):
    """Encodes images (…, H, W, C) or (…, H, W) of any dtype as vectors (…, D).

    Strided convolutions down to at most `places` x `places` positions, then two linear layers. Channels are standardised by
    the statistics of the experience, so that small symbols and a camera's bytes have the same scale.

    Args:
        width: D, the size of a percept.
        channels: features per position in every convolution.
        places: maximal number of positions along a side after the convolutions.
        hidden: width of the hidden linear layer.

    Raises:
        SettingError: a setting is below 1; or, when the graph is built, the observation is no image.
    """

    def __init__(self, width: int = 64, channels: int = 32, places: int = 4, hidden: int = 256) -> None:
        super().__init__()
        for name, value in (("width", width), ("channels", channels), ("places", places), ("hidden", hidden)):
            require(value >= 1, f"Pixels.{name} is {value}: expected 1 or more")
        self.width, self.channels, self.places, self.hidden = width, channels, places, hidden

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "O" in known:
            picture_shape(known["O"], "Pixels")
        return {"P": (self.width,)}

    def build(self, dims: Dims) -> None:
        self.colours = Colours(dims["O"], "Pixels")
        height, width, features = self.colours.shape
        layers: list[nn.Module] = []
        while not layers or max(height, width) > self.places:
            down, across = self._stride(height), self._stride(width)
            kernel = KERNELS[down], KERNELS[across]
            border = kernel[0] // 2, kernel[1] // 2
            layers += [nn.Conv2d(features, self.channels, kernel, (down, across), border), nn.ReLU()]
            height, width, features = -(-height // down), -(-width // across), self.channels
        self.convolutions = nn.Sequential(*layers)
        self.head = mlp(height * width * features, self.hidden, self.width)

    def fit_statistics(self, batch: Batch) -> None:
        """Set the statistics of the channels, before each round of learning."""
        self.colours.fit_statistics(batch)

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Encode images (…, *O) as percepts (…, D) float32."""
        percept: Tensor = self.head(self.convolutions(self.colours(observation)).flatten(1))
        return percept.view(*self.colours.leading(observation), self.width)

    def _stride(self, side: int) -> int:
        """Return the stride for a side: the farther above `places`, the larger."""
        return 4 if side >= 4 * self.places else 2 if side > self.places else 1
