"""Pixels: a convolutional encoder for pictures of any size, from a grid of 3 x 3 symbols to a camera.

Shapes: … any leading dimensions, H and W the picture's sides, C its colours, D the percept's width, N pictures in all.
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
"""The side of a kernel, by its stride: each sees a little of its neighbours."""


class Pixels(Perception):
    """Encodes pictures (…, H, W, C) or (…, H, W), of bytes or other numbers, as vectors (…, D).

    As many strided convolutions as it takes until at most `places` x `places` are left, then two linear layers. Colours are
    standardised by what experience showed so far, so a grid of small symbols is seen as clearly as a camera's bytes.

    Args:
        width: D, the size of a percept.
        channels: features per place in every convolution.
        places: how many places may be left along a side.
        hidden: width of the hidden linear layer.

    Raises:
        SettingError: a setting is below 1; or, once the graph knows it, the observation is no picture.
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

    def measure(self, batch: Batch) -> None:
        """Before each round of learning: how colours vary."""
        self.colours.measure(batch)

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Pictures (…, *O) to percepts (…, D) float32."""
        percept: Tensor = self.head(self.convolutions(self.colours(observation)).flatten(1))
        return percept.view(*self.colours.leading(observation), self.width)

    def _stride(self, side: int) -> int:
        """Large strides where much is left to shrink, none where nothing is."""
        return 4 if side >= 4 * self.places else 2 if side > self.places else 1
