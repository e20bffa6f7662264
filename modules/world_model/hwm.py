"""HWM: macro-actions in the states of level 1.

Shapes: B parallel worlds, K candidates, H horizon, D the width of a state, U of a macro-action, L of an action of level 1; k
ticks of a step; N windows of T = n · k ticks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.module import Batch, callable_method
from ami.ports import Size
from modules.world_model._macro import Macro, relative_error


class HWM(Macro):
    """A model of macro-actions that shares its states with level 1 (Zhang and others, *Hierarchical planning with latent
    world models*, 2026, section 3).

    The predictor is trained on n steps imagined from the first state. The goal of level 1 is the first imagined state,
    velocities and all.

    Args:
        ticks: k.
        width: U.
        hidden: width of the predictor's two hidden layers; the posterior's has a quarter of it.
        kl: weight of the divergence of the macro-actions from the prior.

    Raises:
        SettingError: a setting is out of its range; or, when the graph is built, a state of level 1 is not a vector.
    """

    def __init__(self, ticks: int = 8, width: int = 4, hidden: int = 256, kl: float = 0.01) -> None:
        super().__init__(ticks, width, hidden, kl)

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {**super().infer_dims(known), **({"S": known["P"]} if "P" in known else {})}

    def state_of(self, percept: Tensor) -> Tensor:
        return percept

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the Euclidean distance: (…, D), (…, D) to (…)."""
        norm: Tensor = torch.linalg.vector_norm(states - goal, dim=-1)
        return norm

    @callable_method
    def target(self, percept: Tensor, action: Tensor) -> Tensor:
        return self.imagine(percept, action[:, None, None]).states[:, 0, 0]

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the error of n steps imagined with the macro-actions of the posterior, plus the divergence.

        Args:
            batch: "observation" (N, T + 1, *O) or, from a frozen perception, "percept" (N, T + 1, *P); "action" (N, T, L).

        Returns:
            The loss; `prediction` (see `relative_error`), and `kl`, unweighted.
        """
        states, action, divergence = self._steps_in(batch)
        predicted = self.imagine(states[:, 0], action[:, None]).states[:, 0]
        prediction = relative_error(predicted, states)
        return prediction + self.kl * divergence, {"prediction": prediction.detach(), "kl": divergence.detach()}
