"""The cross-entropy method for continuous actions.

Shapes: B parallel worlds, R the rows that plan, K candidates, E elites, H horizon, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.errors import require
from modules.planner.sampling import SamplingPlanner, SearchResult


class CEM(SamplingPlanner):
    """Cross-entropy method (Rubinstein, 1999) over imagined futures: Mode-2 of the paper, section 3.1.2.

    Each iteration draws K plans from a normal distribution, clipped to [-1, 1], and refits it to the E elites.
    The first mean is the previous plan shifted by one step, or the policy's plan; the last mean is the new plan. `imagined`
    and `energy` approximate the plan's: they are those of the best candidate of the last iteration, since evaluating the
    plan itself would take H more model steps.

    Args:
        horizon: H, number of actions in a plan.
        num_candidates: K.
        num_iterations: number of iterations, each with K candidates.
        num_elites: E.
        init_std: initial standard deviation of each search.
        min_std: lower bound of the standard deviation.
        momentum: weight of the last mean and standard deviation in a refit. V-JEPA 2-AC (arXiv 2506.09985) plans with
            horizon=2 num_candidates=400 num_iterations=10 num_elites=10 momentum=0.15.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, horizon: int = 4, num_candidates: int = 32, num_iterations: int = 2, num_elites: int = 5,
                 init_std: float = 0.8, min_std: float = 0.1, momentum: float = 0.0) -> None:
        super().__init__(horizon, num_candidates)
        require(num_candidates >= 2, f"CEM.num_candidates is {num_candidates}: expected 2 or more")
        require(num_iterations >= 1, f"CEM.num_iterations is {num_iterations}: expected 1 or more")
        require(2 <= num_elites <= num_candidates, f"CEM.num_elites is {num_elites}: expected 2 to num_candidates, "
                                                   f"{num_candidates}")
        require(init_std > 0, f"CEM.init_std is {init_std}: expected more than 0")
        require(0 <= min_std <= init_std, f"CEM.min_std is {min_std}: expected 0 to init_std, {init_std}")
        self.num_candidates, self.num_iterations, self.num_elites = num_candidates, num_iterations, num_elites
        require(0 <= momentum < 1, f"CEM.momentum is {momentum}: expected 0 or more and less than 1")
        self.init_std, self.min_std, self.momentum = init_std, min_std, momentum

    def draw(self) -> Tensor:
        return self.random.normal(self.num_iterations, self.num_candidates, self.horizon * self.width)

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> SearchResult:
        # With one row each operation costs 1 % of the model calls: hence few operations, on flat plans (…, H · A)
        first, *later = noise.unbind(1)
        candidates = torch.add(start.flatten(1).unsqueeze(1), first, alpha=self.init_std)  # (R, K, H · A)
        if self.uses_policy:
            candidates[:, 0] = start.flatten(1)
        states, least, best, elites = self._select(state, goal, weights, candidates)
        before = start.flatten(1).unsqueeze(1), candidates.new_tensor(self.init_std)
        for draws in later:
            del states  # its memory, still in the cache, serves the next rollout
            std, mean = torch.std_mean(elites, dim=1, keepdim=True)
            if self.momentum:
                mean, std = before = mean.lerp(before[0], self.momentum), std.lerp(before[1], self.momentum)
            candidates = torch.addcmul(mean, std.clamp_(min=self.min_std), draws)
            states, least, best, elites = self._select(state, goal, weights, candidates)
        plan = elites.mean(1)
        if self.momentum:
            plan = plan.lerp(before[0].squeeze(1), self.momentum)
        return SearchResult(self.discretise(plan.view_as(start)),
                            self.gather(states, best.narrow(1, 0, 1)).squeeze(1), least.select(1, 0),
                            self.num_iterations * self.num_candidates * self.horizon)

    def _select(self, state: Tensor, goal: Tensor, weights: Tensor | None,
                candidates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Clip and evaluate (R, K, H · A): all states, and the elites' energies (R, E), indices (R, E) and plans."""
        plans = self.clipped(candidates.view(*candidates.shape[:2], self.horizon, self.width))
        states, energy = self.imagine(state, goal, weights, plans)
        least, best = energy.topk(self.num_elites, largest=False)
        return states, least, best, self.gather(plans.flatten(2), best)
