"""Patches: an image as the pixels of its patches, without weights: the tokens of a model that predicts pixels.

Shapes: … any leading dimensions, H and W the image's sides, C its channels; N patches of D = C · patch² numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from ami.blueprint import Perception
from ami.errors import require
from ami.module import Batch, callable_method
from ami.ports import Dims, Size
from modules.perception.pictures import Colours, picture_shape


class Patches(Perception):
    """Cuts images (…, H, W, C) or (…, H, W) of any dtype into patches (…, N, D), row by row.

    Channels are standardised by the statistics of the experience. A world model on these tokens predicts pixels, the
    counterpart of the same model on the tokens of an encoder.

    Args:
        patch: side of a patch in pixels; it divides the image's sides.

    Raises:
        SettingError: `patch` is below 1; or, when the graph is built, the observation is no image, or its sides are no
            multiples of `patch`.
    """

    def __init__(self, patch: int = 8) -> None:
        super().__init__()
        require(patch >= 1, f"Patches.patch is {patch}: expected 1 or more")
        self.patch = patch

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "O" not in known:
            return {}
        height, width, channels = picture_shape(known["O"], "Patches")
        require(height % self.patch == 0 and width % self.patch == 0,
                f"Patches.patch is {self.patch}: expected a divisor of both sides of images of shape {known['O']}")
        return {"P": (height * width // self.patch**2, channels * self.patch**2)}

    def build(self, dims: Dims) -> None:
        self.colours = Colours(dims["O"], "Patches")

    def fit_statistics(self, batch: Batch) -> None:
        """Set the statistics of the channels, before each round of learning."""
        self.colours.fit_statistics(batch)

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Cut images (…, *O) into patches (…, N, D), float32."""
        patches = F.pixel_unshuffle(self.colours(observation), self.patch).flatten(2).transpose(1, 2)
        return patches.reshape(*self.colours.leading(observation), *patches.shape[1:])
