"""Ensemble: several predictors over one encoder, whose disagreement estimates epistemic uncertainty.

Shapes: B parallel worlds, K candidates, H horizon, A action width, D state width, E predictors; N windows of T actions.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ami.blueprint import Prediction
from ami.errors import require
from ami.ports import Dims
from modules.world_model.anti_collapse import AntiCollapse
from modules.world_model.jepa import JEPA, Predictor


class Ensemble(JEPA):
    """A `JEPA` with uncertainty (Pathak and others, *Self-supervised exploration via disagreement*, 2019).

    The predictors differ only in their initial weights. Each is trained on the perceived states, so they agree on seen data.
    The next state is their mean, from which all of them continue; their root mean squared distance from it is the spread.

    Args:
        hidden: width of each predictor's two hidden layers.
        anti_collapse: as in `JEPA`.
        rewards: as in `JEPA`.
        num_predictors: E; multiplies the cost of a model step.

    Raises:
        SettingError: `num_predictors` is below 2; otherwise as in `JEPA`.
    """

    def __init__(self, hidden: int = 256, anti_collapse: str | AntiCollapse = "vicreg", rewards: bool = False,
                 num_predictors: int = 3) -> None:
        super().__init__(hidden, anti_collapse, rewards)
        require(num_predictors >= 2, f"Ensemble.num_predictors is {num_predictors}: expected 2 or more. "
                                     "Fix: world_model=jepa is the one with 1")
        self.num_predictors = num_predictors

    def build(self, dims: Dims) -> None:
        super().build(dims)
        (width,), actions = cast("tuple[int]", dims["S"]), cast(int, dims["A"])
        self.others = nn.ModuleList(Predictor(width, actions, self.hidden) for _ in range(self.num_predictors - 1))

    def _imagined(self, state: Tensor, actions: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the mean, and the root of the predictors' mean squared distance from it."""
        predictors = [one.step_function() for one in (self.predictor, *cast("list[Predictor]", self.others))]
        at, steps, spreads = state, [], []
        for action in actions.flatten(0, 1).unbind(1):
            guesses = torch.stack([self._scaled(predict(at, action)) for predict in predictors], dim=-2)
            mean = guesses.mean(-2)
            at = self._scaled(mean)
            steps.append(at)
            spreads.append(torch.linalg.vector_norm(guesses - mean[..., None, :], dim=(-2, -1)) / self.num_predictors**0.5)
        states, spread = torch.stack(steps, dim=1), torch.stack(spreads, dim=1)
        return states.unflatten(0, actions.shape[:2]), spread.unflatten(0, actions.shape[:2])

    def _error(self, observation: Tensor, states: Tensor, imagined: Prediction) -> Tensor:
        """Return the predictors' mean squared error: the error of their mean plus their variance."""
        spread = cast(Tensor, imagined.spread)
        return super()._error(observation, states, imagined) + spread.square().mean() / states.shape[-1]
