"""RSSM: a stochastic world model with history, after Hafner and others, *Learning latent dynamics for planning from
pixels* (ICML 2019): a deterministic path h, and a Gaussian z drawn from it, or from it and the percept.

Shapes: N sequences of T percepts of width P; B parallel worlds, K candidates, H horizon, A action width; a state (D + Z,) is
h (D,) followed by z (Z,).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Carry, Prediction, WorldModel, preceding
from ami.module import Batch
from ami.ports import Dims, Size, shape_of

SMALLEST_STD = 0.05


class Gaussian(NamedTuple):
    """Mean and standard deviation, each (…, Z)."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor | None) -> Tensor:
        """Return mean + std · noise; the mean without noise."""
        return self.mean if noise is None else self.mean + self.std * noise


class RSSM(WorldModel):
    """h ← GRU([z, action], h); z ~ prior(h) when imagined and z ~ posterior(h, percept) when observed; Q = P.

    Args:
        deterministic: D.
        stochastic: Z.
        kl: the weight of the divergence of the posterior from the prior.
    """

    equal_dims = {"Q": "P", "U": "A"}

    def __init__(self, deterministic: int = 32, stochastic: int = 8, kl: float = 0.02) -> None:
        super().__init__()
        self.deterministic, self.stochastic, self.kl = deterministic, stochastic, kl

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"S": (self.deterministic + self.stochastic,), "Z": (self.stochastic,)}

    def build(self, dims: Dims) -> None:
        self.shape, actions = shape_of(dims, "P"), cast(int, dims["A"])
        percept, width = prod(self.shape), self.deterministic
        self.cell = nn.GRUCell(self.stochastic + actions, width)
        self.prior = nn.Linear(width, 2 * self.stochastic)
        self.posterior = nn.Linear(width + percept, 2 * self.stochastic)
        self.readout = nn.Linear(width + self.stochastic, percept)

    def initial_carry(self, batch: int) -> Carry:
        return {"belief": torch.zeros(batch, self.deterministic + self.stochastic)}

    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        state = self.initial_carry(len(percepts))["belief"].to(percepts) if carry is None else carry["belief"]
        states = []
        for t, (seen, action) in enumerate(zip(percepts.flatten(2).unbind(1), actions.unbind(1), strict=True)):
            h = self._next_h(state, action)
            z = _gaussian(self.posterior(torch.cat([h, seen], dim=-1))).sample(None if noise is None else noise[:, t])
            state = torch.cat([h, z], dim=-1)
            states.append(state)
        return torch.stack(states, dim=1), {"belief": state}

    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        state, states, spread = state[:, None].expand(-1, actions.shape[1], -1), [], []
        for t, action in enumerate(actions.unbind(2)):
            h = self._next_h(state, action)
            prior = _gaussian(self.prior(h))
            state = torch.cat([h, prior.sample(None if noise is None else noise[:, :, t])], dim=-1)
            states.append(state)
            spread.append(prior.std.mean(-1))
        return Prediction(torch.stack(states, dim=2), torch.stack(spread, dim=2))

    def goal_of(self, percept: Tensor) -> Tensor:
        return percept

    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        apart: Tensor = torch.linalg.vector_norm(self.readout(states) - goal.flatten(-len(self.shape)), dim=-1)
        return apart

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the reconstruction error plus the weighted divergence, with noise from torch's global generator."""
        percepts, actions = self.percepts_in(batch), preceding(batch["action"])
        noise = torch.randn(*percepts.shape[:2], self.stochastic, device=percepts.device)
        states, _ = self.observe(percepts, actions, noise=noise)
        h = states[..., :self.deterministic]
        prior, posterior = _gaussian(self.prior(h)), _gaussian(self.posterior(torch.cat([h, percepts.flatten(2)], dim=-1)))
        divergence = torch.distributions.kl_divergence(torch.distributions.Normal(*posterior),
                                                       torch.distributions.Normal(*prior)).sum(-1).mean()
        reconstruction = F.mse_loss(self.readout(states), percepts.flatten(2))
        return reconstruction + self.kl * divergence, {"reconstruction": reconstruction.detach(), "kl": divergence.detach()}

    def _next_h(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the next h (…, D) of states (…, D + Z) and actions (…, A)."""
        h, z = state.split([self.deterministic, self.stochastic], dim=-1)
        inputs = torch.cat([z, action], dim=-1)
        moved: Tensor = self.cell(inputs.flatten(0, -2), h.flatten(0, -2))
        return moved.view(h.shape)


def _gaussian(numbers: Tensor) -> Gaussian:
    mean, std = numbers.chunk(2, dim=-1)
    return Gaussian(mean, F.softplus(std) + SMALLEST_STD)
