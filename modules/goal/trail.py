"""The running mean of recent states, for novelty-seeking agents.

Shapes: B parallel worlds, S the size of a state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Goal
from ami.errors import require
from ami.ports import Port


class Trail(Goal):
    """The running mean of this episode's states, which cost=novelty avoids.

    States older than about 1 / rate ticks have faded, so that the agent may return to them.

    Args:
        rate: the share of the newest state.

    Raises:
        SettingError: the rate is out of its range.
    """

    inputs = {**Goal.inputs, "state": Port("state", ("*S",))}

    def __init__(self, rate: float = 0.7) -> None:
        super().__init__()
        require(0 < rate <= 1, f"Trail.rate is {rate}: expected more than 0, at most 1")
        self.rate = rate

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"trail": torch.zeros(batch, *self.outputs["goal"].shape(self.dims)), "ticks": torch.zeros(batch)}

    def step(self, observation: Tensor, state: Tensor, mode: Tensor | None = None) -> dict[str, Tensor]:
        ticks = self.carry["ticks"] + 1
        share = (1 / ticks).clamp(min=self.rate)  # a plain mean at first
        trail = torch.lerp(self.carry["trail"], state, share.view(-1, *[1] * (state.ndim - 1)))
        self.carry = {"trail": trail, "ticks": ticks}
        return {"goal": trail}
