"""Stubs: minimal perception, world model and cost, for modules that call them.

Shapes: B parallel worlds, K candidates, H horizon, A action width, S the size of a state, F = S flattened.
"""

from __future__ import annotations

import math
from math import prod

import torch
from torch import Tensor

from ami.blueprint import Carry, Cost, Perception, Prediction, WorldModel
from ami.module import Module, callable_method
from ami.ports import Dims, Size

STEP = 0.3
"""The change of the stub's state by a full action."""


def stub_for(methods: tuple[str, ...]) -> Module | None:
    """Return the stub with these callable methods; None if there is none."""
    for stub in (StubPerception, StubWorldModel, StubCost):
        if set(methods) <= set(stub.callable_methods()):
            return stub()
    return None


def sizes(size: Size) -> tuple[int, ...]:
    """Return a symbol's size as a shape."""
    return size if isinstance(size, tuple) else (size,)


def fixed_map(source: int, target: int) -> Tensor:
    """Return a linear map (source, target), equal in every process, that roughly preserves lengths."""
    drawn = torch.randn(source, target, generator=torch.Generator().manual_seed(source * 1009 + target))
    return drawn / math.sqrt(max(target, 1))


class StubPerception(Perception):
    """Encodes observations by a fixed linear map."""

    def build(self, dims: Dims) -> None:
        self.shapes = len(sizes(dims["O"])), sizes(dims["P"])
        self.map = fixed_map(prod(sizes(dims["O"])), prod(self.shapes[1]))

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Encode observations (…, *O) as percepts (…, *P)."""
        last, shape = self.shapes
        seen = observation.float().flatten(-last)
        percept: Tensor = (seen @ self.map).unflatten(-1, shape)
        return percept


class StubWorldModel(WorldModel):
    """Actions move the state along fixed directions; predicted steps are counted.

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
        self.moves = STEP * fixed_map(prod(sizes(dims.get("U", dims["A"]))), prod(self.shape))
        self.map = None if percept == self.shape else fixed_map(prod(percept), prod(self.shape))
        self.goal_shape = sizes(dims.get("Q", dims["S"]))
        self.goal_map = None if self.goal_shape == self.shape else fixed_map(prod(self.shape), prod(self.goal_shape))

    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        """Map percepts (N, T, *P) to states (N, T, *S)."""
        return self._state_of(percepts), {}

    def goal_of(self, percept: Tensor) -> Tensor:
        """Map percepts (…, *P) to goals (…, *Q)."""
        return self._as_goal(self._state_of(percept))

    def _state_of(self, percept: Tensor) -> Tensor:
        if self.map is None:
            return percept
        state: Tensor = (percept.flatten(-self.percept_dims) @ self.map).unflatten(-1, self.shape)
        return state

    def _as_goal(self, states: Tensor) -> Tensor:
        if self.goal_map is None:
            return states
        goal: Tensor = (states.flatten(-len(self.shape)) @ self.goal_map).unflatten(-1, self.goal_shape)
        return goal

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine states (B, K, H, *S) from states (B, *S) and actions (B, K, H, U)."""
        self.steps += prod(actions.shape[:3])
        moves = (actions @ self.moves).cumsum(2).unflatten(-1, self.shape)
        return Prediction(state[:, None, None] + moves)

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the Euclidean distance: (…, *S), (…, *Q) to (…)."""
        apart: Tensor = (self._as_goal(states) - goal).flatten(-len(self.goal_shape))
        return apart.square().sum(-1).sqrt()


class StubCost(Cost):
    """The squared distance to the goal, summed along the path."""

    requires = {}

    def build(self, dims: Dims) -> None:
        shape, goal = sizes(dims["S"]), sizes(dims.get("Q", dims["S"]))
        self.last = len(shape)
        self.goal_last = len(goal)
        self.map = None if shape == goal else fixed_map(prod(shape), prod(goal))

    @callable_method
    def intrinsic_energy(self, state: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the energies (B,) of states (B, *S) and goals (B, *Q)."""
        return self._apart(state, goal).square().sum(-1)

    def _apart(self, states: Tensor, goal: Tensor) -> Tensor:
        flat = states.flatten(-self.last)
        return (flat if self.map is None else flat @ self.map) - goal.flatten(-self.goal_last)

    @callable_method
    def energy(self, prediction: Prediction, actions: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the energies (B, K) of paths (B, K, H, *S), actions (B, K, H, U) and goals (B, *Q)."""
        return self._apart(prediction.states, goal[:, None, None]).square().sum(-1).sum(-1)
