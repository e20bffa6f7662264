"""Random shooting: the best of many random plans.

Shapes: R the rows that plan, K candidates, H horizon, A action width.
"""

from __future__ import annotations

from torch import Tensor

from ami.errors import require
from ami.ports import ActionSpace
from modules.planner.sampling import SamplingPlanner, SearchResult


class RandomShooting(SamplingPlanner):
    """Rolls out K random plans and takes the one of least energy: a single iteration without refits.

    Continuous actions are drawn uniformly from [-1, 1], choices uniformly from their alternatives: any action space works.
    If a policy is bound, its plan is one of the K.

    Args:
        horizon: H, number of actions in a plan.
        num_candidates: K.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, horizon: int = 4, num_candidates: int = 64) -> None:
        super().__init__(horizon, num_candidates)
        require(num_candidates >= 1, f"RandomShooting.num_candidates is {num_candidates}: expected 1 or more")
        self.num_candidates = num_candidates

    def check_actions(self, actions: ActionSpace) -> None:
        """Accept any actions."""

    def draw(self) -> Tensor:
        if self.space.choices:
            return self.random.uniform(0.0, 1.0, self.num_candidates, self.horizon, self.space.num_draws)
        return self.random.uniform(-1.0, 1.0, self.num_candidates, self.horizon, self.width)

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> SearchResult:
        candidates = self.space.draw(noise) if self.space.choices else noise
        if self.allowed is not None:
            candidates[:, :, 0] = self.space.draw(noise[:, :, 0], self.allowed[:, None].expand(-1, self.num_candidates, -1))
        if self.uses_policy:
            candidates[:, 0] = start
        states, energy = self.imagine(state, goal, weights, candidates)
        return SearchResult(*self.best_of(candidates, states, energy), self.num_candidates * self.horizon)
