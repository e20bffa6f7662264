"""Markov: the base class of world models without history, for worlds whose percept is a Markov state.

Two rooms is such a world: an image shows dot, wall and door, and the dot has no momentum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import WorldModel


class MarkovWorldModel(WorldModel):
    """The state is `believe(percept)`; the last state and action are used for surprise only.

    A subclass implements `believe`, `imagine` and `distance`. The input `recall` is ignored.
    """

    ignores = ("recall",)

    def initial(self, batch: int) -> dict[str, Tensor]:
        size = self.outputs["state"].shape(self.dims)
        return {"state": torch.zeros(batch, *size), "begun": torch.zeros(batch, dtype=torch.bool)}

    def step(self, percept: Tensor, action: Tensor, recall: Tensor | None = None) -> dict[str, Tensor]:
        """Compute state (B, *S) and surprise (B,) from percept (B, *P) and the action that led to it (B, A).

        Surprise is the Euclidean distance between the predicted and the current state; 0 at an episode's first tick.
        """
        state = self.believe(percept)
        predicted = self.imagine(self.carry["state"], action[:, None, None]).states[:, 0, 0]
        surprise = torch.linalg.vector_norm((predicted - state).flatten(1), dim=1)
        begun = self.carry["begun"]
        self.carry = {"state": state, "begun": torch.ones_like(begun)}
        return {"state": state, "surprise": torch.where(begun, surprise, 0.0)}
