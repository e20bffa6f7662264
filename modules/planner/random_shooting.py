"""Random shooting: the best of many random plans.

Shapes: B parallel worlds, K candidates, H horizon, A action width.
"""

from __future__ import annotations

from torch import Tensor

from ami.errors import require
from modules.planner.sampling import Found, SamplingPlanner


class RandomShooting(SamplingPlanner):
    """Imagines K plans drawn uniformly from [-1, 1] and takes the one of least energy: the search without improvement.

    Where a policy is bound, its plan is one of the K.

    Args:
        horizon: H, how many actions a plan has.
        num_candidates: K.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, horizon: int = 4, num_candidates: int = 64) -> None:
        super().__init__(horizon)
        require(num_candidates >= 1, f"RandomShooting.num_candidates is {num_candidates}: expected 1 or more")
        self.num_candidates = num_candidates

    def draw(self) -> Tensor:
        return self.random.uniform(-1.0, 1.0, self.num_candidates, self.horizon, self.width)

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> Found:
        if self.proposes:
            noise[:, 0] = start
        states, energy = self.imagine(state, goal, weights, noise)
        least, best = energy.min(1, keepdim=True)
        return Found(self.taken(noise, best)[:, 0], self.taken(states, best)[:, 0], least[:, 0],
                     self.num_candidates * self.horizon)
