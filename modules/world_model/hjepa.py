"""HJEPA: a second level with a slower, more abstract state, whose actions are targets for level 1.

Shapes: B parallel worlds; D the width of a state of level 1, S of a state of level 2, U of its action, L of an action of
level 1; k ticks of a step; N windows of T = n · k ticks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from ami.errors import require
from ami.module import Batch, callable_method
from ami.ports import Dims, Size
from modules.nets import mlp
from modules.world_model._macro import Macro, relative_error
from modules.world_model.anti_collapse import AntiCollapse, anti_collapse_of


class HJEPA(Macro):
    """The second level of a hierarchical JEPA (LeCun 2022, section 4.6): it encodes the states of level 1 once more, and
    predicts its own states, a step of k ticks ahead.

    An action of this level is a target for level 1, the state that level 1 should reach after k ticks. The targets that can
    be reached differ from place to place, so an action is a latent number, and a decoder turns it, at a state of level 1,
    into the target. With slow features the Euclidean distance of states grows along the paths that the world allows, and
    forgets what changes within a step.

    Args:
        ticks: k.
        features: S.
        width: U.
        hidden: width of the hidden layers; the posterior's has a quarter of it.
        kl: weight of the divergence of the actions from the prior.
        anti_collapse: `vicreg`, `sigreg` or `none`; or one of `modules.world_model.anti_collapse` with other weights. Its
            inverse dynamics is not used.

    Raises:
        SettingError: a setting is out of its range or unknown; or, when the graph is built, a state of level 1 is not a
            vector.
    """

    def __init__(self, ticks: int = 8, features: int = 16, width: int = 4, hidden: int = 256, kl: float = 0.01,
                 anti_collapse: str | AntiCollapse = "vicreg") -> None:
        super().__init__(ticks, width, hidden, kl)
        require(features >= 1, f"HJEPA.features is {features}: expected 1 or more")
        self.features, self.method = features, anti_collapse_of(anti_collapse, "HJEPA")
        require(not self.method.normalises, f"HJEPA.anti_collapse is {anti_collapse!r}, which needs a slow copy of the "
                                            "encoder: expected a method that adds to the loss, such as vicreg")

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {**super().infer_dims(known), "S": (self.features,)}

    def build(self, dims: Dims) -> None:
        super().build(dims)
        (below,) = cast("tuple[int]", dims["P"])
        self.encoder = mlp(below, self.hidden, self.hidden, self.features)
        self.decoder = mlp(below + self.width, self.hidden, self.hidden, below)

    def state_of(self, percept: Tensor) -> Tensor:
        states: Tensor = self.encoder(percept)
        return states

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the Euclidean distance of states (…, S) to the states of goals (…, D): (…)."""
        norm: Tensor = torch.linalg.vector_norm(states - self.encoder(goal), dim=-1)
        return norm

    @callable_method
    def target(self, percept: Tensor, action: Tensor) -> Tensor:
        aim: Tensor = percept + self.decoder(torch.cat([percept, action], dim=-1))
        return aim

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the errors of n imagined steps and of the decoded targets, plus divergence and anti-collapse terms.

        Args:
            batch: "observation" (N, T + 1, *O) or, from a frozen perception, "percept" (N, T + 1, *P); "action" (N, T, L).

        Returns:
            The loss, and unweighted figures: `prediction`, the mean squared error of imagined states; `target`, of targets
            (see `relative_error`); `kl`; each anti-collapse term; `std`, the mean standard deviation of a dimension.
        """
        below, action, divergence = self._steps_in(batch)
        states = self.state_of(below)
        prediction = (self.imagine(states[:, 0], action[:, None]).states[:, 0] - states[:, 1:]).square().mean()
        target = relative_error(self.target(below[:, :-1], action), below)
        total = prediction + target + self.kl * divergence
        figures = {"prediction": prediction, "target": target, "kl": divergence}
        for name, (weight, value) in self.method.penalties(states).items():
            total, figures[name] = total + weight * value, value
        figures["std"] = states.flatten(0, 1).std(0).mean()
        return total, {name: value.detach() for name, value in figures.items()}
