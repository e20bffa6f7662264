"""Markov: the base class of world models without history, for worlds whose percept is a Markov state.

Two rooms is such a world: an image shows dot, wall and door, and the dot has no momentum.
"""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Carry, WorldModel


class MarkovWorldModel(WorldModel):
    """The state is a function of the percept alone, and so is the goal.

    A subclass implements `state_of`, `imagine` and `distance`.
    """

    def state_of(self, percept: Tensor) -> Tensor:
        """Return the states (…, *S) of percepts (…, *P)."""
        raise NotImplementedError

    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        return self.state_of(percepts), {}

    def goal_of(self, percept: Tensor) -> Tensor:
        return self.state_of(percept)
