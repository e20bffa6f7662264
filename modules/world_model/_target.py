"""Targets of a `JEPA`'s predictions: states, states of an EMA copy of the perception, or pixels.

Shapes: N windows of T actions and T + 1 observations of shape O, F = O flattened, D state width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import RowErrors
from ami.errors import SettingError, require, suggestion
from ami.module import Batch, Call
from ami.ports import Dims, shape_of
from modules.nets import mlp, target_of
from modules.world_model.anti_collapse import EMA, AntiCollapse

FRAMES_AT_ONCE = 2048
SMALLEST_SPREAD = 1e-6
TARGETS = "states", "pixels"


class Target(nn.Module):
    """The perceived states, with a gradient through both sides.

    Attributes:
        dims: symbols of the perception that this target needs, as in a `Call`.
    """

    dims: Mapping[str, str] = {"P": "P"}

    def build(self, dims: Dims, hidden: int) -> None:
        """Build the networks."""

    def fit_statistics(self, batch: Batch) -> None:
        """Set statistics of all experience, before each round of learning."""

    def learning_state(self, perception: nn.Module) -> nn.ModuleDict | None:
        """Return the state that only training needs; None without any."""
        return None

    def after_step(self, state: nn.ModuleDict, perception: nn.Module, progress: float) -> None:
        """Update that state after an optimiser step, with progress from 0 to 1."""

    def error(self, rows: RowErrors, batch: Batch, states: Tensor, predicted: Tensor, unit: Tensor | None,
              slow: Callable[[], Tensor]) -> Tensor:
        """Return the error of predictions.

        Args:
            rows: reduces it.
            batch: the windows, with "observation" (N, T + 1, *O) for targets that compare observations.
            states: (N, T + 1, D), the perceived ones.
            predicted: (N, T, D), imagined from the first of them.
            unit: (D,), the scale of each state dimension; None for 1.
            slow: returns the states (N, T + 1, D) of the EMA copy of the perception, without gradient.
        """
        return _error(rows, predicted, states[:, 1:], unit)


class SlowStates(Target):
    """The states of an EMA copy of the perception, without gradient.

    Args:
        method: sets the copy's momentum.
    """

    def __init__(self, method: EMA) -> None:
        super().__init__()
        self.method = method

    def learning_state(self, perception: nn.Module) -> nn.ModuleDict:
        return nn.ModuleDict({"perception": target_of(perception)})

    def after_step(self, state: nn.ModuleDict, perception: nn.Module, progress: float) -> None:
        self.method.follow(state["perception"], perception, progress)

    def error(self, rows: RowErrors, batch: Batch, states: Tensor, predicted: Tensor, unit: Tensor | None,
              slow: Callable[[], Tensor]) -> Tensor:
        return _error(rows, predicted, slow()[:, 1:], unit)


class Pixels(Target):
    """The observations: a decoder reconstructs those of the first state and of the imagined ones (paper, section 4.3).

    The error is squared and divided by the observations' variance, so that the mean observation costs 1. States must
    therefore also encode details that cannot be predicted.
    """

    dims = {"P": "P", "O": "O"}
    mean: Tensor
    spread: Tensor

    def build(self, dims: Dims, hidden: int) -> None:
        self.shape = shape_of(dims, "O")
        self.decoder = mlp(prod(shape_of(dims, "S")), hidden, prod(self.shape))
        self.register_buffer("mean", torch.zeros(prod(self.shape)))
        self.register_buffer("spread", torch.ones(()))

    def decode(self, states: Tensor) -> Tensor:
        """Decode states (…, D) to observations (…, *O) float32, in the observations' units."""
        drawn: Tensor = (self.decoder(states) * self.spread + self.mean).unflatten(-1, self.shape)
        return drawn

    def fit_statistics(self, batch: Batch) -> None:
        """Set the mean observation and one standard deviation of all numbers."""
        frames = batch["observation"]
        parts = frames.split(FRAMES_AT_ONCE)  # kept as bytes: float32 would need four times the memory
        total = torch.stack([self._flat(part).sum(0, dtype=torch.float64) for part in parts]).sum(0)
        self.mean.copy_(total / len(frames))
        away = torch.stack([(self._flat(part) - self.mean).square().sum(dtype=torch.float64) for part in parts]).sum()
        self.spread.copy_((away / (len(frames) * len(self.mean))).sqrt().clamp(min=SMALLEST_SPREAD))

    def error(self, rows: RowErrors, batch: Batch, states: Tensor, predicted: Tensor, unit: Tensor | None,
              slow: Callable[[], Tensor]) -> Tensor:
        drawn: Tensor = self.decoder(torch.cat([states[:, :1], predicted], dim=1))
        return rows.mean((drawn - (self._flat(batch["observation"]) - self.mean) / self.spread).square())

    def _flat(self, observation: Tensor) -> Tensor:
        """Flatten (…, *O) to (…, F) float32."""
        return observation.to(torch.float32).flatten(-len(self.shape))


def target_for(setting: str, method: AntiCollapse) -> Target:
    """Return the target that a setting and the anti-collapse method name.

    Raises:
        SettingError: there is no such target, or the method needs another one.
    """
    if setting not in TARGETS:
        raise SettingError(f"JEPA.target is '{setting}'{suggestion(str(setting), TARGETS)}")
    if isinstance(method, EMA):
        require(setting == "states", f"JEPA.anti_collapse is 'ema', whose targets are states, and JEPA.target '{setting}': "
                                     "expected a method that adds to the loss, such as none or vicreg")
        return SlowStates(method)
    return Pixels() if setting == "pixels" else Target()


def call_of(target: Target) -> Call:
    """Return the call to the perception that the target needs; it is required if the target is pixels, else optional."""
    return Call(("encode",), target.dims, optional=not isinstance(target, Pixels), learning=True)


def _error(rows: RowErrors, predicted: Tensor, targets: Tensor, unit: Tensor | None) -> Tensor:
    if unit is None:
        return rows.of(F.mse_loss, predicted, targets)
    return rows.of(F.smooth_l1_loss, predicted / unit, targets / unit)
