"""Two streams: one encoder for what stays while an agent moves, one for what moves.

Shapes: … any leading dimensions, H and W the image's sides, 3 its channels; a percept (D,) is the static part (C,) followed
by the moving part (M,).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ami.blueprint import Perception
from ami.errors import require
from ami.module import callable_method
from ami.ports import Dims, Size
from modules.perception.conv import Conv


class TwoStreams(Perception):
    """Encodes byte images (…, H, W, 3) as the outputs of two convolutional encoders without shared weights.

    Static features are the easier to learn, and an encoder that has to represent both represents them alone. Two encoders
    may be trained with different losses (`modules.world_model.place`). The moving part is layer-normed.

    Args:
        static: C, the size of the static part.
        moving: M, the size of the moving part.
        static_channels, moving_channels: features per position in the convolutions of each encoder.
        hidden: width of the hidden linear layer of both.

    Raises:
        SettingError: a setting is below 1; or, when the graph is built, the observation is no image that `Conv` accepts.
    """

    inputs = Conv.inputs

    def __init__(self, static: int = 24, moving: int = 16, static_channels: int = 16, moving_channels: int = 32,
                 hidden: int = 192) -> None:
        super().__init__()
        for name, value in (("static", static), ("moving", moving), ("static_channels", static_channels),
                            ("moving_channels", moving_channels), ("hidden", hidden)):
            require(value >= 1, f"TwoStreams.{name} is {value}: expected 1 or more")
        self.static, self.moving = static, moving
        self.stays = Conv(static, static_channels, hidden)
        self.moves = Conv(moving, moving_channels, hidden)

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        self.stays.infer_dims(known)  # checks the observation
        return {"P": (self.static + self.moving,)}

    def build(self, dims: Dims) -> None:
        self.stays.build(dims)
        self.moves.build(dims)

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Encode images (…, H, W, 3) uint8 as percepts (…, C + M) float32."""
        return torch.cat([self.encode_static(observation), self.encode_moving(observation)], dim=-1)

    @callable_method
    def encode_static(self, observation: Tensor) -> Tensor:
        """Encode images (…, H, W, 3) as the static part (…, C) alone."""
        return self.stays.encode(observation)

    @callable_method
    def encode_moving(self, observation: Tensor) -> Tensor:
        """Encode images (…, H, W, 3) as the moving part (…, M) alone."""
        return F.layer_norm(self.moves.encode(observation), (self.moving,))
