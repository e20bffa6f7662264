"""What planners over choices share: their world has a few discrete actions, and a plan is one-hot.

Shapes: R the rows that plan, K candidates, H horizon, A the number of choices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.errors import SettingError
from ami.ports import Choices, Size
from modules.planner.sampling import SamplingPlanner


class ChoicePlanner(SamplingPlanner):
    """A search over discrete actions: every action of a plan is one of A choices, (…, A) in {0, 1}."""

    def accept(self, width: Size) -> None:
        if not isinstance(width, Choices):
            raise SettingError(f"{type(self).__name__} plans choices, but here an action is {width} continuous numbers. "
                               "Fix: planner=cem, or another planner of continuous actions")


def one_hot(chosen: Tensor, width: int) -> Tensor:
    """Numbers of choices (…) to actions (…, A)."""
    actions = torch.zeros(*chosen.shape, width, device=chosen.device)
    return actions.scatter_(-1, chosen[..., None], 1.0)
