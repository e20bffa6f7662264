"""Recurrent beliefs over percepts: a GRU, and a recurrent state-space model (RSSM).

Shapes: N sequences of T inputs of width I; W the width of the recurrent state, Z of the RSSM's latent; F of the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

SMALLEST_STD = 0.05


class Belief(NamedTuple):
    """The belief along a sequence: features (N, T, F), the recurrent state after it (N, F), the posterior or None."""

    features: Tensor
    last: Tensor
    posterior: Normal | None = None


class GRU(nn.Module):
    """h ← GRU(input, h); the features are h, F = W (Cho and others, EMNLP 2014).

    Args:
        inputs: I.
        width: W.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.features = width
        self.cell = nn.GRU(inputs, width, batch_first=True)

    def forward(self, inputs: Tensor, last: Tensor, sampled: bool = False) -> Belief:
        """Map inputs (N, T, I) and the state before them (N, F) to a belief; nothing is `sampled`."""
        features, after = self.cell(inputs, last[None].contiguous())
        return Belief(features, after[0])


class RSSM(nn.Module):
    """h ← GRU(z, h); z ~ posterior(h, input), a Gaussian; the features are h and z, F = W + Z.

    After Hafner and others, *Learning latent dynamics for planning from pixels* (ICML 2019), except that the action enters
    the prior alone: the belief depends on what is seen.

    Args:
        inputs: I.
        width: W.
        latent: Z.
        actions: width of an action.
    """

    def __init__(self, inputs: int, width: int, latent: int, actions: int) -> None:
        super().__init__()
        self.features, self.width = width + latent, width
        self.cell = nn.GRUCell(latent, width)
        self.posterior = nn.Linear(width + inputs, 2 * latent)
        self.prior = nn.Linear(width + actions, 2 * latent)

    def forward(self, inputs: Tensor, last: Tensor, sampled: bool = False) -> Belief:
        """Map inputs (N, T, I) and the features before them (N, F) to a belief.

        Args:
            inputs: (N, T, I).
            last: (N, F).
            sampled: whether z is drawn, from torch's global generator; else it is the mean.
        """
        h, z = last[:, :self.width], last[:, self.width:]
        from_input = F.linear(inputs, self.posterior.weight[:, self.width:], self.posterior.bias)  # of all steps at once
        features, numbers = [], []
        for step in from_input.unbind(1):
            h = self.cell(z, h)
            seen = step + F.linear(h, self.posterior.weight[:, :self.width])
            mean, std = _normal(seen)
            z = mean + std * torch.randn_like(std) if sampled else mean
            features.append(torch.cat([h, z], dim=-1))
            numbers.append(seen)
        return Belief(torch.stack(features, dim=1), features[-1], Normal(*_normal(torch.stack(numbers, dim=1))))

    def divergence(self, belief: Belief, actions: Tensor) -> Tensor:
        """Return the mean KL divergence of the posterior from the prior, which knows the actions (N, T - 1, A) between."""
        assert belief.posterior is not None
        prior = Normal(*_normal(self.prior(torch.cat([belief.features[:, 1:, :self.width], actions], dim=-1))))
        posterior = Normal(belief.posterior.loc[:, 1:], belief.posterior.scale[:, 1:])
        return kl_divergence(posterior, prior).sum(-1).mean()


CELLS: Mapping[str, type[nn.Module]] = {"gru": GRU, "rssm": RSSM}


def _normal(numbers: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = numbers.chunk(2, dim=-1)
    return mean, F.softplus(std) + SMALLEST_STD
