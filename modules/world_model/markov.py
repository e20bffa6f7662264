"""Markov: the belief of a world model that needs no history, because one percept shows all there is to know.

Two rooms is such a world: a picture shows dot, wall and door, and the dot has no momentum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import WorldModel


class MarkovWorldModel(WorldModel):
    """The state is `believe(percept)`; the last state and action serve to tell how surprising it is.

    A subclass writes `believe`, `rollout` and `distance`. What memory recalls is not read.
    """

    def initial(self, batch: int) -> dict[str, Tensor]:
        size = self.outputs["state"].shape(self.dims)
        return {"state": torch.zeros(batch, *size), "begun": torch.zeros(batch, dtype=torch.bool)}

    def step(self, percept: Tensor, action: Tensor, recall: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        """Percept (B, *P) and the action that led to it (B, A) to state (B, *S) and surprise (B,).

        Surprise is the Euclidean distance between the state predicted from the last one and the state now, 0 at an
        episode's first tick, when nothing was predicted.
        """
        state = self.believe(percept)
        predicted = self.rollout(self.carry["state"], action[:, None, None]).states[:, 0, 0]
        surprise = torch.linalg.vector_norm((predicted - state).flatten(1), dim=1)
        begun = self.carry["begun"]
        self.carry = {"state": state, "begun": torch.ones_like(begun)}
        return {"state": state, "surprise": torch.where(begun, surprise, 0.0)}
