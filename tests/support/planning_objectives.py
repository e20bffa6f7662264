"""Objectives shared by ami's planners and the reference planners: a quadratic bowl, and Rastrigin's function.

Each is a function from actions (…, H, A) to energies (…); a planner receives it as its world model and cost.
"""

import torch

from ami.blueprint import Prediction
from ami.module import callable_method
from ami.testing.stubs import StubCost, StubWorldModel
from ami.testing.subject import Subject

H, A = 6, 2
TARGET = (torch.rand(H, A, generator=torch.Generator().manual_seed(5)) - 0.5) * 1.2
STRETCH = torch.logspace(0, 1.5, H * A).view(H, A)


def bowl(actions):
    """A quadratic whose axes differ by a factor of 30."""
    return (STRETCH * (actions - TARGET).square()).sum((-1, -2))


def valleys(actions):
    """Rastrigin's function, with many local minima and its global minimum at the target."""
    away = 3 * (actions - TARGET)
    return (away.square() + 1 - torch.cos(2 * torch.pi * away)).sum((-1, -2))


class Still(StubWorldModel):
    """A world model whose state never changes, so only the actions matter."""

    @callable_method
    def imagine(self, state, actions, noise=None):
        self.steps += actions[..., 0].numel()
        return Prediction(state[:, None, None].expand(*actions.shape[:3], *state.shape[1:]))


def search(make, objective, rows=1, ticks=1):
    """Return the outputs of `ticks` searches of a planner on an objective, in `rows` worlds with separate random streams."""
    class Judge(StubCost):
        @callable_method
        def energy(self, prediction, actions, goal, weights=None):
            return objective(actions)

    subject = Subject(make, {"A": A}, calls={"world_model": Still(), "cost": Judge()})
    inputs = subject.sample_inputs(rows, 1)[0]
    return subject.run(subject.fresh(range(rows)), [inputs] * ticks)
