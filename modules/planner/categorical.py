"""The cross-entropy method for discrete actions.

Shapes: R the rows that plan, K candidates, E elites, H horizon, A the number of alternatives, over all C choices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.errors import require
from ami.ports import Dims
from modules.planner.choosing import ChoicePlanner
from modules.planner.sampling import Best, SearchResult


class Categorical(ChoicePlanner):
    """Cross-entropy method for discrete actions (Rubinstein, 1999): one categorical distribution for every choice of each of
    H steps.

    Each iteration draws K plans and refits every step's distribution to the choice frequencies of the E elites. The
    plan is the best candidate of all iterations, so that `imagined` and `energy` are its own. The warm start is the last
    plan shifted by one step, or the policy's plan; it is also a candidate. Without a warm start the distribution is uniform.

    Args:
        horizon: H, number of actions in a plan.
        num_candidates: K.
        num_iterations: number of refits.
        num_elites: E.
        warm_start_prob: initial probability of the warm start's choices, on top of the uniform share.
        epsilon: weight of the uniform distribution in every refit (ε-floor), so that no choice is excluded.

    Raises:
        SettingError: a setting is out of its range, or the world's actions are continuous.
    """

    counts: Tensor
    least: Tensor

    def __init__(self, horizon: int = 8, num_candidates: int = 32, num_iterations: int = 2, num_elites: int = 5,
                 warm_start_prob: float = 0.5, epsilon: float = 0.1) -> None:
        super().__init__(horizon, num_candidates)
        require(num_candidates >= 2, f"Categorical.num_candidates is {num_candidates}: expected 2 or more")
        require(num_iterations >= 1, f"Categorical.num_iterations is {num_iterations}: expected 1 or more")
        require(1 <= num_elites <= num_candidates, f"Categorical.num_elites is {num_elites}: expected 1 to num_candidates, "
                                                   f"{num_candidates}")
        require(0 <= warm_start_prob <= 1, f"Categorical.warm_start_prob is {warm_start_prob}: expected 0 to 1")
        require(0 <= epsilon <= 1, f"Categorical.epsilon is {epsilon}: expected 0 to 1")
        self.num_candidates, self.num_iterations, self.num_elites = num_candidates, num_iterations, num_elites
        self.warm_start_prob, self.epsilon = warm_start_prob, epsilon

    def build(self, dims: Dims) -> None:
        super().build(dims)
        counts = [count for count in self.space.choices for _ in range(count)]
        self.register_buffer("counts", torch.tensor(counts, dtype=torch.float32), persistent=False)
        least = [self.epsilon / count for count in counts]
        self.register_buffer("least", torch.tensor(least, dtype=torch.float32), persistent=False)

    def draw(self) -> Tensor:
        return self.random.uniform(0.0, 1.0, self.num_iterations, self.num_candidates, self.horizon, self.space.num_draws)

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> SearchResult:
        known = start.any(-1, keepdim=True).float()  # (R, H, 1): 1 where the warm start is known, else 0
        share = self.warm_start_prob * start + (1 - self.warm_start_prob * known) / self.counts
        best: Best | None = None
        for draws in noise.unbind(1):
            share = self._possible(share)
            candidates = self.space.one_hot(self._chosen(share, draws))  # (R, K, H, A)
            if best is None:
                candidates[:, 0] = torch.where(known > 0, start, candidates[:, 0])
            states, energy = self.imagine(state, goal, weights, candidates)
            best = self.best_of(candidates, states, energy, best)
            elites = self.gather(candidates, energy.topk(self.num_elites, largest=False).indices)
            share = (1 - self.epsilon) * elites.mean(1) + self.least
        assert best is not None
        return SearchResult(*best, self.num_iterations * self.num_candidates * self.horizon)

    def _possible(self, share: Tensor) -> Tensor:
        """Return distributions (R, H, A) with an allowed first action."""
        if self.allowed is None:
            return share
        first = [torch.where(block.sum(-1, keepdim=True) > 0, block, free.float())
                 for block, free in zip(self.space.blocks(share[:, 0] * self.allowed), self.space.blocks(self.allowed),
                                        strict=True)]
        shares = torch.cat([block / block.sum(-1, keepdim=True) for block in first], -1)
        return torch.cat([shares[:, None], share[:, 1:]], 1)

    def _chosen(self, share: Tensor, draws: Tensor) -> Tensor:
        """Map distributions (R, H, A) and uniform draws (R, K, H, C) to indices of alternatives (R, K, H, C)."""
        chosen = [(draw[..., None] >= block.cumsum(-1)[:, None, :, :-1]).sum(-1)  # the last edge is 1 up to rounding
                  for draw, block in zip(draws.unbind(-1), self.space.blocks(share), strict=True)]
        return torch.stack(chosen, -1)
