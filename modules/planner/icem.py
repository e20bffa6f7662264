"""iCEM: a cross-entropy method for few candidates.

Shapes: R the rows that plan, K candidates, E elites, H horizon, A action width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ami.errors import require
from ami.ports import Dims
from modules.planner.sampling import Best, SamplingPlanner, SearchResult


class ICEM(SamplingPlanner):
    """Improved CEM (Pinneri and others, *Sample-efficient cross-entropy method for real-time planning*, CoRL 2020).

    Differences to CEM: coloured noise, correlated between steps; elites are kept between iterations, at no cost, and
    between ticks, shifted by one step; later iterations have fewer candidates; the mean is a candidate of the last
    iteration; the plan is the best candidate of all iterations, so that `imagined` and `energy` are its own.

    Args:
        horizon: H, number of actions in a plan.
        num_candidates: K of the first iteration.
        num_iterations: number of refits.
        num_elites: E.
        noise_exponent: β, the noise's power falls with frequency f as f^-β: 0 is white, 2 like a random walk.
        decay: factor by which the number of candidates shrinks per iteration, down to 2 E.
        fraction_reused: the share of the elites that are kept.
        momentum: weight of the last mean and standard deviation in a refit.
        init_std: initial standard deviation of each search.
        min_std: lower bound of the standard deviation.

    Raises:
        SettingError: a setting is out of its range, or the world's actions are discrete.
    """

    colour: Tensor

    def __init__(self, horizon: int = 4, num_candidates: int = 32, num_iterations: int = 2, num_elites: int = 5,
                 noise_exponent: float = 2.0, decay: float = 1.25, fraction_reused: float = 0.3, momentum: float = 0.1,
                 init_std: float = 0.8, min_std: float = 0.1) -> None:
        super().__init__(horizon, num_candidates)
        require(num_candidates >= 2, f"ICEM.num_candidates is {num_candidates}: expected 2 or more")
        require(num_iterations >= 1, f"ICEM.num_iterations is {num_iterations}: expected 1 or more")
        require(2 <= num_elites <= num_candidates, f"ICEM.num_elites is {num_elites}: expected 2 to num_candidates, "
                                                   f"{num_candidates}")
        require(noise_exponent >= 0, f"ICEM.noise_exponent is {noise_exponent}: expected 0 or more")
        require(decay >= 1, f"ICEM.decay is {decay}: expected 1 or more")
        require(0 <= fraction_reused <= 1, f"ICEM.fraction_reused is {fraction_reused}: expected 0 to 1")
        require(0 <= momentum < 1, f"ICEM.momentum is {momentum}: expected 0 or more and less than 1")
        require(init_std > 0, f"ICEM.init_std is {init_std}: expected more than 0")
        require(0 <= min_std <= init_std, f"ICEM.min_std is {min_std}: expected 0 to init_std, {init_std}")
        self.num_elites, self.num_kept, self.momentum = num_elites, math.ceil(fraction_reused * num_elites), momentum
        self.noise_exponent, self.init_std, self.min_std = noise_exponent, init_std, min_std
        self.populations = [min(num_candidates, max(int(num_candidates / decay**i), 2 * num_elites))
                            for i in range(num_iterations)]

    def build(self, dims: Dims) -> None:
        super().build(dims)
        self.register_buffer("colour", coloured(self.horizon, self.noise_exponent), persistent=False)

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {**super().initial(batch), "elites": torch.zeros(batch, self.num_kept, self.horizon, self.width)}

    def draw(self) -> Tensor:
        return self.random.normal(sum(self.populations), self.width, self.horizon)

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> SearchResult:
        smooth = (noise @ self.colour).transpose(2, 3)  # (R, K, H, A) of all iterations
        mean, std = start[:, None], torch.full_like(start, self.init_std)[:, None]
        best: Best | None = None
        kept, kept_energy = start.new_zeros(len(start), 0, *start.shape[1:]), start.new_zeros(len(start), 0)
        for number, draws in enumerate(smooth.split(self.populations, 1)):
            candidates = self.clipped(torch.addcmul(mean, std, draws))
            if number == 0:
                self._insert_last_elites(candidates)
                candidates = self.discretise(candidates)
            if number == len(self.populations) - 1 or (number == 0 and self.uses_policy):
                candidates[:, -1] = self.discretise(mean[:, 0])
            states, energy = self.imagine(state, goal, weights, candidates)
            best = self.best_of(candidates, states, energy, best)
            del states  # its memory, still in the cache, serves the next rollout
            pool, energies = torch.cat([candidates, kept], 1), torch.cat([energy, kept_energy], 1)
            least, numbers = energies.topk(self.num_elites, largest=False)
            elites = self.gather(pool, numbers)
            kept, kept_energy = elites[:, :self.num_kept], least[:, :self.num_kept]
            spread, centre = torch.std_mean(elites, dim=1, keepdim=True)
            mean = torch.lerp(centre, mean, self.momentum)
            std = torch.lerp(spread, std, self.momentum).clamp_(min=self.min_std)
        assert best is not None
        return SearchResult(*best, sum(self.populations) * self.horizon, {"elites": kept})

    def _insert_last_elites(self, candidates: Tensor) -> None:
        """Replace the first candidates (R, K, H, A), except their last action, by the last tick's shifted elites."""
        elites = self.from_carry("elites")[:, :candidates.shape[1]]
        known = elites.flatten(2).any(2)[:, :, None, None]  # none at an episode's first tick
        replaced = candidates[:, :elites.shape[1], :-1]
        replaced.copy_(torch.where(known, elites[:, :, 1:], replaced))


def coloured(horizon: int, exponent: float) -> Tensor:
    """Return the map (H, H) from white noise (…, H) to coloured noise: power falls with frequency f as f^-exponent.

    After Timmer and König, *On generating power law noise*, 1995. Frequency 0 is treated as the next one.
    """
    frequency = torch.fft.rfftfreq(horizon, dtype=torch.float64).clamp(min=1 / horizon)
    white = torch.fft.rfft(torch.eye(horizon, dtype=torch.float64))
    filtered: Tensor = torch.fft.irfft(white * frequency ** (-exponent / 2), n=horizon)
    return filtered.div(torch.linalg.vector_norm(filtered, dim=0)).float()
