"""Simulator: the world's true dynamics as a world model, for oracles. It has no parameters and zero surprise.

Shapes: B parallel worlds, K candidates, H horizon, A action width, S the true state's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ami.blueprint import Prediction
from ami.errors import require
from ami.module import callable_method
from ami.ports import Dims, Size
from modules.world_model.markov import MarkovWorldModel


class Simulator(MarkovWorldModel):
    """Predicts with the true dynamics and measures the true distance; percept and state are the true state, S = P.

    Args:
        dynamics: an object with two methods on numpy arrays, both over any leading dimensions: `step(state, action)`,
            (…, S) and (…, A) to (…, S), and `distance(state, goal)`, (…, S) and (…, S) to (…), in the world's units.

    Raises:
        SettingError: the dynamics lacks a method; or its states are not of the percept's shape.
    """

    def __init__(self, dynamics: Any) -> None:
        super().__init__()
        missing = [name for name in ("step", "distance") if not callable(getattr(dynamics, name, None))]
        require(not missing, f"Simulator.dynamics, a {type(dynamics).__name__}, has no {' and no '.join(missing)}: "
                             "expected an object with step(state, action) and distance(state, goal) on numpy arrays")
        self.dynamics = dynamics

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"S": known["P"]} if "P" in known else {}

    def build(self, dims: Dims) -> None:
        size, width = dims["S"], dims["A"]
        after = np.shape(self.dynamics.step(np.zeros(size, np.float32), np.zeros(width, np.float32)))
        require(after == size, f"Simulator.dynamics turns a percept of shape {size} into a state of shape {after}: "
                               "expected the true state as percept. Fix: perception=identity in a world whose "
                               "observation is its state (two rooms: world.observe=state)")

    def state_of(self, percept: Tensor) -> Tensor:
        """The percept is the state: (…, S) to (…, S)."""
        return percept

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Simulate true states (B, K, H, S) from states (B, S) and actions (B, K, H, A)."""
        at = state.detach().cpu().numpy()[:, None]
        taken = actions.detach().cpu().numpy()
        steps = []
        for h in range(taken.shape[2]):
            at = self.dynamics.step(at, taken[:, :, h])
            steps.append(at)
        return Prediction(torch.from_numpy(np.stack(steps, axis=2)).to(state.device))

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the true path length from states to goals, in the world's units: (…, S), (…, S) to (…)."""
        length = self.dynamics.distance(states.detach().cpu().numpy(), goal.detach().cpu().numpy())
        return torch.as_tensor(length, dtype=torch.float32, device=states.device)
