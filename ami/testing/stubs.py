"""Stubs: the smallest perception, world model and cost, for modules that call them.

Shapes: B parallel worlds, K candidates, H horizon, A action width, S the size of a state, F = S flattened.
"""

from __future__ import annotations

import math
from math import prod

import torch
from torch import Tensor

from ami.blueprint import Cost, Perception, Prediction, WorldModel
from ami.module import Module, callable_method
from ami.ports import Dims, Size

STEP = 0.3
"""How far a full action moves the stub world's state."""


def stub_for(methods: tuple[str, ...]) -> Module | None:
    """The stub that has these callable methods; None where no stub has them."""
    for stub in (StubPerception, StubWorldModel, StubCost):
        if set(methods) <= set(stub.callable_methods()):
            return stub()
    return None


def sizes(size: Size) -> tuple[int, ...]:
    """A symbol's size as a shape."""
    return size if isinstance(size, tuple) else (size,)


def fixed_map(source: int, target: int) -> Tensor:
    """A linear map (source, target) that is the same in every process and keeps lengths roughly as they are."""
    drawn = torch.randn(source, target, generator=torch.Generator().manual_seed(source * 1009 + target))
    return drawn / math.sqrt(max(target, 1))


class StubPerception(Perception):
    """Observations through a fixed linear map."""

    def build(self, dims: Dims) -> None:
        self.shapes = len(sizes(dims["O"])), sizes(dims["P"])
        self.map = fixed_map(prod(sizes(dims["O"])), prod(self.shapes[1]))

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Observations (…, *O) to percepts (…, *P)."""
        last, shape = self.shapes
        seen = observation.float().flatten(-last)
        percept: Tensor = (seen @ self.map).unflatten(-1, shape)
        return percept


class StubWorldModel(WorldModel):
    """An action moves the state along fixed directions; it counts the steps it is asked to predict.

    Attributes:
        steps: predicted steps so far, over all rows and candidates.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def build(self, dims: Dims) -> None:
        self.shape = sizes(dims["S"])
        percept = sizes(dims["P"]) if "P" in dims else self.shape
        self.percept_dims = len(percept)
        self.moves = STEP * fixed_map(prod(sizes(dims["A"])), prod(self.shape))
        self.map = None if percept == self.shape else fixed_map(prod(percept), prod(self.shape))

    @callable_method
    def believe(self, percept: Tensor) -> Tensor:
        """Percepts (…, *P) to states (…, *S)."""
        if self.map is None:
            return percept
        state: Tensor = (percept.flatten(-self.percept_dims) @ self.map).unflatten(-1, self.shape)
        return state

    @callable_method
    def rollout(self, state: Tensor, actions: Tensor) -> Prediction:
        """Imagine: states (B, *S), actions (B, K, H, A) to states (B, K, H, *S)."""
        self.steps += prod(actions.shape[:3])
        moves = (actions @ self.moves).cumsum(2).unflatten(-1, self.shape)
        return Prediction(state[:, None, None] + moves)

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Euclidean: (…, *S), (…, *S) to (…)."""
        apart: Tensor = (states - goal).flatten(-len(self.shape))
        return apart.square().sum(-1).sqrt()


class StubCost(Cost):
    """The squared distance to the goal, summed along the path."""

    wants = {}

    def build(self, dims: Dims) -> None:
        self.last = len(sizes(dims["S"]))

    @callable_method
    def intrinsic_energy(self, state: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """States (B, *S) and goals (B, *S) to energies (B,)."""
        return (state - goal).flatten(1).square().sum(-1)

    @callable_method
    def energy(self, prediction: Prediction, actions: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """Paths (B, K, H, *S), actions (B, K, H, A), goals (B, *S) to energies (B, K)."""
        return (prediction.states - goal[:, None, None]).flatten(-self.last).square().sum(-1).sum(-1)
