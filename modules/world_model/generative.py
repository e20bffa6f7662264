"""Generative: the JEPA's encoder and predictor, trained by reconstructing observations instead of predicting states.

Shapes: N windows of T actions and T + 1 observations of shape O, F = O flattened, D state width.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from ami.blueprint import Prediction
from ami.errors import require
from ami.module import Batch, Call, callable_method
from ami.ports import Dims
from modules.nets import mlp
from modules.world_model.anti_collapse import EMA, AntiCollapse
from modules.world_model.jepa import JEPA

FRAMES_AT_ONCE = 2048
SMALLEST_SPREAD = 1e-6


class Generative(JEPA):
    """The generative counterpart of `JEPA`: states are trained by reconstruction (paper, section 4.3).

    A decoder reconstructs the observations of a window's first state and of the states imagined from it. The loss is their
    squared error divided by the observations' variance, so that the mean observation costs 1. States must also keep
    unpredictable details. Encoder, predictor, rollout and distance are those of `JEPA`.

    Args:
        hidden: width of the predictor's two hidden layers, and of the decoder's one.
        anti_collapse: additional regulariser, as in `JEPA`; "none" for reconstruction alone.
        rewards: as in `JEPA`.

    Raises:
        SettingError: a setting is out of its range; `anti_collapse` is "ema", whose targets are states; or, when the graph
            is built, a percept is no vector.
    """

    requires = {"perception": Call(("encode",), {"P": "P", "O": "O"})}
    mean: Tensor
    spread: Tensor

    def __init__(self, hidden: int = 256, anti_collapse: str | AntiCollapse = "none", rewards: bool = False) -> None:
        super().__init__(hidden, anti_collapse, rewards)
        require(not isinstance(self.method, EMA), "Generative.anti_collapse is 'ema', whose targets are states: "
                                                  "expected a method that adds to the loss, such as none or vicreg")

    def build(self, dims: Dims) -> None:
        super().build(dims)
        shape, width = dims["O"], dims["S"]
        self.shape = shape if isinstance(shape, tuple) else (shape,)
        self.decoder = mlp(prod(width if isinstance(width, tuple) else (width,)), self.hidden, prod(self.shape))
        self.register_buffer("mean", torch.zeros(prod(self.shape)))
        self.register_buffer("spread", torch.ones(()))

    @callable_method
    def decode(self, states: Tensor) -> Tensor:
        """Decode states (…, D) to observations (…, *O) float32, in the observations' units."""
        drawn: Tensor = (self._draw(states) * self.spread + self.mean).unflatten(-1, self.shape)
        return drawn

    def fit_statistics(self, batch: Batch) -> None:
        """Set the mean observation and one standard deviation of all numbers, before each round of learning."""
        super().fit_statistics(batch)
        frames = batch["observation"]
        parts = frames.split(FRAMES_AT_ONCE)  # kept as bytes: float32 would need four times the memory
        total = torch.stack([self._flat(part).sum(0, dtype=torch.float64) for part in parts]).sum(0)
        self.mean.copy_(total / len(frames))
        away = torch.stack([(self._flat(part) - self.mean).square().sum(dtype=torch.float64) for part in parts]).sum()
        self.spread.copy_((away / (len(frames) * len(self.mean))).sqrt().clamp(min=SMALLEST_SPREAD))

    def _error(self, observation: Tensor, states: Tensor, imagined: Prediction) -> Tensor:
        drawn = self._draw(torch.cat([states[:, :1], imagined.states[:, 0]], dim=1))
        return (drawn - (self._flat(observation) - self.mean) / self.spread).square().mean()

    def _draw(self, states: Tensor) -> Tensor:
        """Decode (…, D) to (…, F), in the units of the loss."""
        drawn: Tensor = self.decoder(states)
        return drawn

    def _flat(self, observation: Tensor) -> Tensor:
        """Flatten (…, *O) to (…, F) float32."""
        return observation.to(torch.float32).flatten(-len(self.shape))
