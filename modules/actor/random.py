"""Temporally correlated random actions, for exploration and as a baseline.

Shapes: B parallel worlds, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import ACTION_MASK, Actor
from ami.errors import require
from ami.ports import ActionSpace, Dims


class RandomActor(Actor):
    """First-order autoregressive noise: n ← rho · n + √(1 - rho²) · sigma · ε, and the action's numbers are n, its norm
    clipped to 1.

    The first n of an episode is drawn from the stationary distribution, N(0, sigma²). Discrete choices are repeated with
    probability `stickiness` (sticky actions); otherwise they are drawn uniformly from the alternatives that the world's mask
    allows.

    Args:
        rho: autocorrelation of the noise, 0 (white noise) or more and less than 1.
        sigma: the standard deviation of the noise in each direction.
        stickiness: probability of repeating the last choices, 0 or more and less than 1.

    Raises:
        SettingError: a setting is out of its range.
    """

    inputs = {**Actor.inputs, "action_mask": ACTION_MASK}
    ignores = ("state", "goal", "mode", "plan")

    def __init__(self, rho: float = 0.8, sigma: float = 0.8, stickiness: float = 0.0) -> None:
        super().__init__()
        require(0 <= rho < 1, f"RandomActor.rho is {rho}: expected 0 or more and less than 1")
        require(sigma > 0, f"RandomActor.sigma is {sigma}: expected more than 0")
        require(0 <= stickiness < 1, f"RandomActor.stickiness is {stickiness}: expected 0 or more and less than 1")
        self.rho, self.sigma, self.stickiness = rho, sigma, stickiness

    def build(self, dims: Dims) -> None:
        self.space = self.actions or ActionSpace(self.outputs["action"].shape(dims)[0])

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"noise": torch.zeros(batch, self.space.width), "begun": torch.zeros(batch, 1)}

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor | None = None,
             action_mask: Tensor | None = None) -> dict[str, Tensor]:
        numbers, last = self.space.numbers, self.carry["noise"]
        begun = self.carry["begun"]  # 0 at an episode's first tick, else 1
        noise = action = last[:, :numbers]
        if numbers:
            rho = begun * self.rho
            drawn = self.random.normal(numbers)
            noise = rho * noise + torch.sqrt(1 - rho.square()) * self.sigma * drawn
            action = noise / torch.linalg.vector_norm(noise, dim=-1, keepdim=True).clamp(min=1.0)
        chosen = self._choose(last, begun * self.stickiness, action_mask) if self.space.choices else last[:, numbers:]
        self.carry = {"noise": torch.cat([noise, chosen], 1), "begun": torch.ones_like(begun)}
        return {"action": torch.cat([action, chosen], 1)}

    def _choose(self, last: Tensor, stickiness: Tensor, allowed: Tensor | None) -> Tensor:
        """Return the one-hot part of the next actions: with probability `stickiness` (B, 1) that of `last` (B, A)."""
        numbers = self.space.numbers
        uniform = self.random.uniform(0.0, 1.0, 1 + len(self.space.choices))
        stays = uniform[:, :1] < stickiness
        if allowed is not None:
            self.space.check_mask(allowed, "RandomActor")
            allowed = allowed[:, numbers:]
            stays = stays & ~(last[:, numbers:].bool() & ~allowed).any(-1, keepdim=True)
        drawn = ActionSpace(choices=self.space.choices).draw(uniform[:, 1:], allowed)
        return torch.where(stays, last[:, numbers:], drawn)
