"""A configurator with constant outputs.

Shapes: B parallel worlds, W terms of the cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ami.blueprint import Configurator
from ami.errors import require
from ami.ports import Size


class FixedConfigurator(Configurator):
    """Constant mode and weights.

    Args:
        mode: 1 to react, 2 to plan.
        weights: factors of the cost's own weights, one per term of the cost; all 1 if None.

    Raises:
        SettingError: the mode is neither 1 nor 2, or a weight is negative.
    """

    ignores = ("energy", "surprise")

    def __init__(self, mode: int = 2, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        require(mode in (1, 2), f"FixedConfigurator.mode is {mode}: expected 1 (react) or 2 (plan)")
        require(weights is None or (len(weights) > 0 and min(weights) >= 0),
                f"FixedConfigurator.weights is {weights}: expected numbers of 0 or more")
        self.mode = mode
        self.weights = None if weights is None else tuple(float(w) for w in weights)
        self._sent: dict[str, Tensor] = {}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {} if self.weights is None else {"W": len(self.weights)}

    def step(self, energy: Tensor | None = None, surprise: Tensor | None = None) -> dict[str, Tensor]:
        if not self._sent or len(self._sent["mode"]) != self.batch:  # messages are immutable: one serves all ticks
            (terms,) = self.outputs["weights"].shape(self.dims)
            weights = torch.tensor(self.weights or (1.0,) * terms)
            self._sent = {"mode": torch.full((self.batch,), self.mode, dtype=torch.int64),
                          "weights": weights.repeat(self.batch, 1)}
        return dict(self._sent)
