"""Keypoints: an image as places, where features of a small convolutional net are found (Levine and others, *End-to-end
training of deep visuomotor policies*, JMLR 2016, section 5.1: the spatial softmax).

Shapes: … any leading dimensions, H and W the image's sides, C its channels; h and w the sides of a map; N tokens of width D,
each with K points of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ami.blueprint import Perception
from ami.errors import require
from ami.module import Batch, callable_method
from ami.ports import Dims, Size, shape_of
from modules.perception.pictures import Colours, picture_shape

STRIDE = 2
DILATIONS = 1, 2, 4
SHARPNESS = 4.0
"""The inverse temperature of the softmax: maps need not grow large to be distinct."""
SMALLEST_VARIANCE = 0.01  # cells²
SMALLEST_SHARE = 1e-6
WINDOW = 4.0
"""Cells: the deviation of the window."""


class Keypoints(Perception):
    """Encodes images (…, H, W, C) or (…, H, W) of any dtype as tokens (…, N, D), linear in the places of features.

    Convolutions that keep the resolution give N · K maps; the softmax of a map over its cells of 2 x 2 px has a mean place
    and, other than in the paper, a standard deviation in x and in y, which shows how far apart two equal features are. A
    token is a linear function of its own K means and deviations. A feature that is learnt in one place is found in all, and
    a token moves evenly with what it follows: unlike a transformer's tokens, it need not learn that from examples of every
    place.

    Mean and deviations are those within a window around a first mean, so that a weak response far away does not move them.
    There is no window until the module has learnt from some batches: a map that only ever counts near its mean stays
    blurred.

    Args:
        tokens: N.
        width: D.
        points: K.
        channels: features per position in the convolutions.
        whole: the number of batches that it learns from without the window.

    Raises:
        SettingError: a setting is below its minimum; or, when the graph is built, the observation is no image with even
            sides.
    """

    learnt: Tensor

    def __init__(self, tokens: int = 8, width: int = 8, points: int = 2, channels: int = 16,
                 whole: int = 800) -> None:
        super().__init__()
        for name, value in (("tokens", tokens), ("width", width), ("points", points), ("channels", channels)):
            require(value >= 1, f"Keypoints.{name} is {value}: expected 1 or more")
        require(whole >= 0, f"Keypoints.whole is {whole}: expected 0 or more batches")
        self.whole = whole
        self.tokens, self.width, self.points, self.channels = tokens, width, points, channels

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "O" in known:
            height, width, _ = picture_shape(known["O"], "Keypoints")
            require(height % STRIDE == width % STRIDE == 0,
                    f"Keypoints receives images of shape {known['O']}: expected sides that are multiples of {STRIDE}")
        return {"P": (self.tokens, self.width)}

    def build(self, dims: Dims) -> None:
        self.colours = Colours(shape_of(dims, "O"), "Keypoints")
        layers: list[nn.Module] = []
        features = self.colours.shape[-1] * STRIDE**2
        for dilation in DILATIONS:
            layers += [nn.Conv2d(features, self.channels, 3, padding=dilation, dilation=dilation), nn.ReLU()]
            features = self.channels
        self.maps = nn.Sequential(nn.PixelUnshuffle(STRIDE), *layers, nn.Conv2d(features, self.tokens * self.points, 1))
        self.weight = nn.Parameter(0.1 * torch.randn(self.tokens, 4 * self.points, self.width))
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))

    def fit_statistics(self, batch: Batch) -> None:
        """Set the statistics of the channels, before each round of learning."""
        self.colours.fit_statistics(batch)

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Encode images (…, *O) as tokens (…, N, D), float32."""
        return torch.einsum("...nk,nkd->...nd", self.places(observation).flatten(-2), self.weight)

    @callable_method
    def places(self, observation: Tensor) -> Tensor:
        """Return the points (…, N, K, 4) of images (…, *O): mean x and y, from the image's middle, and their deviations, all
        in cells."""
        maps = self.maps(self.colours(observation))  # (images, N · K, h, w)
        shares = (SHARPNESS * maps.flatten(2)).softmax(-1).view_as(maps)
        across, down = (_middles(side, shares) for side in (maps.shape[3], maps.shape[2]))
        if self._has_window():
            x, y = shares.sum(2) @ across, shares.sum(3) @ down
            near = shares * _bell(across - x[..., None])[:, :, None] * _bell(down - y[..., None])[..., None]
            shares = near / near.sum((2, 3), keepdim=True).clamp(min=SMALLEST_SHARE)
        moments = []
        for share, at in ((shares.sum(2), across), (shares.sum(3), down)):
            mean = share @ at
            moments.append((mean, (share @ at.square() - mean.square()).clamp(min=SMALLEST_VARIANCE).sqrt()))
        (x, wide), (y, high) = moments
        found = torch.stack([x, y, wide, high], dim=-1)
        return found.view(*self.colours.leading(observation), self.tokens, self.points, 4)

    def _has_window(self) -> bool:
        """Return whether the window applies; count a batch if it is learnt from."""
        has_window = int(self.learnt) >= self.whole
        if self.training and torch.is_grad_enabled():
            self.learnt += 1
        return has_window


def _middles(side: int, like: Tensor) -> Tensor:
    """Return the middles (side,) of cells, from that of all."""
    return torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2


def _bell(away: Tensor) -> Tensor:
    """Return the window's weights of cells that are this far from its middle."""
    return (-0.5 * (away / WINDOW).square()).exp()
