"""Vector: standardised observations, for any units of the world.

Shapes: … any leading dimensions, O the size of an observation, F = O flattened, D the percept's width.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from ami.blueprint import Perception
from ami.errors import require
from ami.module import Batch, callable_method
from ami.ports import Dims, Size
from modules.nets import mlp

FRAMES_AT_ONCE = 1024
SMALLEST_SPREAD = 1e-6


class Vector(Perception):
    """Standardises every number of an observation by the statistics of the experience; optionally encodes them by an MLP.

    Args:
        width: D, the size of a percept of the MLP, which is trained with a world model; 0 outputs the standardised
            numbers, D = F, without parameters.
        hidden: width of the MLP's two hidden layers.
        standardise: whether to standardise; unnecessary for binary features.

    Raises:
        SettingError: a setting is out of its range.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int = 0, hidden: int = 128, standardise: bool = True) -> None:
        super().__init__()
        require(width >= 0, f"Vector.width is {width}: expected 0, for no MLP, or more")
        require(hidden >= 1, f"Vector.hidden is {hidden}: expected 1 or more")
        self.width, self.hidden, self.standardise = width, hidden, standardise

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if self.width:
            return {"P": (self.width,)}
        return {"P": (prod(_shape(known["O"])),)} if "O" in known else {}

    def build(self, dims: Dims) -> None:
        self._dims = len(_shape(dims["O"]))
        size = prod(_shape(dims["O"]))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        if self.width:
            self.encoder = mlp(size, self.hidden, self.hidden, self.width)

    def fit_statistics(self, batch: Batch) -> None:
        """Set mean and standard deviation, before each round of learning; a constant number is not scaled."""
        if not self.standardise:
            return
        seen = torch.cat([self._flat(part) for part in batch["observation"].split(FRAMES_AT_ONCE)])
        spread = seen.std(0)
        self.mean.copy_(seen.mean(0))
        self.spread.copy_(torch.where(spread > SMALLEST_SPREAD, spread, 1.0))

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Encode observations (…, *O) of any dtype as percepts (…, D)."""
        seen = (self._flat(observation) - self.mean) / self.spread
        percept: Tensor = self.encoder(seen) if self.width else seen
        return percept

    def _flat(self, observation: Tensor) -> Tensor:
        return observation.to(torch.float32).flatten(observation.ndim - self._dims)


def _shape(size: Size) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size,)
