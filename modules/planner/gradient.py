"""Planning by gradient descent on the energy, through the world model.

Shapes: R the rows that plan, K candidates, H horizon, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.errors import SettingError, require
from modules.planner.sampling import Best, SamplingPlanner, SearchResult

SLOWNESS = 0.9, 0.999  # Adam's β₁ and β₂
SMALLEST = 1e-8


class GradientDescent(SamplingPlanner):
    """Descends the energy's gradient with respect to the actions (LeCun 2022, section 3.1.2: the energy is differentiable).

    The gradient flows over the call edges, through `cost.energy` and `world_model.imagine`; their weights receive none.
    K plans descend in parallel, the first from the last plan shifted by one step, or from the policy's plan, the others from
    noise around it. Each step is Adam's (Kingma and Ba, 2015), clipped to [-1, 1]. The plan is the best of all iterations,
    so that `imagined` and `energy` are its own.

    `model_steps` counts forward predictions, K · H · (num_iterations + 1). The backward passes cost about as much again.

    Args:
        horizon: H, number of actions in a plan.
        num_candidates: K.
        num_iterations: number of gradient steps.
        learning_rate: approximate change of an action per step.
        init_std: initial standard deviation of the noise of all candidates but the first.

    Raises:
        SettingError: a setting is out of its range, the world's actions are discrete, or, at the first tick, the energy has
            no gradient.
    """

    differentiates = True

    def __init__(self, horizon: int = 4, num_candidates: int = 4, num_iterations: int = 7, learning_rate: float = 0.3,
                 init_std: float = 0.8) -> None:
        super().__init__(horizon, num_candidates)
        require(num_candidates >= 1, f"GradientDescent.num_candidates is {num_candidates}: expected 1 or more")
        require(num_iterations >= 1, f"GradientDescent.num_iterations is {num_iterations}: expected 1 or more")
        require(learning_rate > 0, f"GradientDescent.learning_rate is {learning_rate}: expected more than 0")
        require(init_std > 0, f"GradientDescent.init_std is {init_std}: expected more than 0")
        self.num_candidates, self.num_iterations = num_candidates, num_iterations
        self.learning_rate, self.init_std = learning_rate, init_std

    def draw(self) -> Tensor:
        return self.random.normal(self.num_candidates, self.horizon, self.width)

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> SearchResult:
        noise[:, 0] = 0.0
        plans = self._bounded(torch.add(start[:, None], noise, alpha=self.init_std))
        direction, size = torch.zeros_like(plans), torch.zeros_like(plans)
        best: Best | None = None
        for number in range(1, self.num_iterations + 1):
            states, energy, slope = self._slope(state, goal, weights, plans)
            best = self.best_of(self.discretise(plans), states, energy, best)
            direction = direction.lerp(slope, 1 - SLOWNESS[0])
            size = size.lerp(slope.square(), 1 - SLOWNESS[1])
            ahead = direction / (1 - SLOWNESS[0]**number)
            pace = (size / (1 - SLOWNESS[1]**number)).sqrt_().add_(SMALLEST)
            plans = self._bounded(torch.addcdiv(plans, ahead, pace, value=-self.learning_rate))
        plans = self.discretise(plans)
        best = self.best_of(plans, *self.imagine(state, goal, weights, plans), best)
        return SearchResult(*best, (self.num_iterations + 1) * self.num_candidates * self.horizon)

    def _bounded(self, plans: Tensor) -> Tensor:
        """Clip the continuous part of plans (R, K, H, A) to [-1, 1] in place; scores of alternatives are unbounded."""
        plans[..., :self.space.numbers].clamp_(-1.0, 1.0)
        return plans

    def _slope(self, state: Tensor, goal: Tensor, weights: Tensor | None, plans: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Roll out plans (R, K, H, A): states (R, K, H, *S), energies (R, K), and the energy's gradient (R, K, H, A)."""
        with torch.enable_grad():
            moved = plans.detach().requires_grad_()
            # straight-through estimator for choices (Bengio and others, 2013)
            taken = moved + (self.discretise(moved) - moved).detach() if self.space.choices else moved
            states, energy = self.imagine(state, goal, weights, taken)
            # without allow_unused a detached gradient would raise torch's error, which has no fix
            slope = torch.autograd.grad(energy.sum(), moved, allow_unused=True)[0] if energy.requires_grad else None
        if slope is None:
            raise SettingError("GradientDescent needs the energy's gradient with respect to the actions, and "
                               "world_model.imagine or cost.energy has none: is one of them computed outside torch? "
                               "Fix: planner=cem, or another planner that needs no gradient")
        # a distance may have a NaN gradient where it is 0
        return states.detach(), energy.detach(), slope.nan_to_num_(0.0, 0.0, 0.0)
