"""Random actions that last a while, for exploring and as a baseline.

Shapes: B parallel worlds, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Actor
from ami.errors import require
from ami.ports import Choices, Dims


class RandomActor(Actor):
    """First-order autoregressive noise: n ← rho · n + √(1 - rho²) · sigma · ε, and action = n, its norm clipped to 1.

    The first n of an episode is drawn from the stationary distribution, N(0, sigma²). Where actions are choices, the last
    one is kept with the probability `keep`, and else one is drawn, all alike.

    Args:
        rho: how much of the last noise stays, 0 (white noise) up to but not 1.
        sigma: the standard deviation of the noise in each of the A directions.
        keep: how likely a choice is kept, 0 up to but not 1.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, rho: float = 0.8, sigma: float = 0.8, keep: float = 0.0) -> None:
        super().__init__()
        require(0 <= rho < 1, f"RandomActor.rho is {rho}: expected 0 or more and less than 1")
        require(sigma > 0, f"RandomActor.sigma is {sigma}: expected more than 0")
        require(0 <= keep < 1, f"RandomActor.keep is {keep}: expected 0 or more and less than 1")
        self.rho, self.sigma, self.keep = rho, sigma, keep

    def build(self, dims: Dims) -> None:
        self._chooses = isinstance(dims["A"], Choices)

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"noise": torch.zeros(batch, *self.outputs["action"].shape(self.dims)), "keep": torch.zeros(batch, 1)}

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        if self._chooses:
            return self._choice(state.device)
        keep = self.carry["keep"]  # 0 at an episode's first tick
        drawn = self.random.normal(self.carry["noise"].shape[1]).to(state.device)
        noise = keep * self.carry["noise"] + torch.sqrt(1 - keep.square()) * self.sigma * drawn
        self.carry = {"noise": noise, "keep": torch.full_like(keep, self.rho)}
        return {"action": noise / torch.linalg.vector_norm(noise, dim=-1, keepdim=True).clamp(min=1.0)}

    def _choice(self, device: torch.device) -> dict[str, Tensor]:
        keep, last = self.carry["keep"], self.carry["noise"]
        whether, which = self.random.uniform(0.0, 1.0, 2).to(device).split(1, dim=1)
        drawn = torch.nn.functional.one_hot((which[:, 0] * last.shape[1]).long(), last.shape[1]).to(last)
        action = torch.where(whether < keep, last, drawn)
        self.carry = {"noise": action, "keep": torch.full_like(keep, self.keep)}
        return {"action": action}
