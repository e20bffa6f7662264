"""Probes: how much of the true state is linearly decodable from a frozen agent's states, and whether they have collapsed.

A ridge regression is fitted on some episodes and scored on others. The states' standard deviation is reported too: effective
rank *rises* when a representation collapses to noise, and a linear probe alone can look healthy (models.md in the design
notes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ami.blueprint import Perception, WorldModel
from ami.data.replay_buffer import TRUTH, ReplayBuffer
from ami.errors import require
from ami.learning.states import percepts_of, states_of
from ami.module import Module

TRAIN_SHARE = 0.75
RIDGE = 1e-6
SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Readout:
    """A linear map from states to the true state.

    Attributes:
        mean, spread: (*S), mean and standard deviation of the states it was fitted on.
        weight: (D + 1, X), the last row is the intercept.
    """

    mean: Tensor
    spread: Tensor
    weight: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        """Map states (…, *S), flattened to (…, D), to (…, X)."""
        scaled = ((states - self.mean) / self.spread).reshape(*states.shape[: states.ndim - self.mean.ndim], -1)
        return (scaled @ self.weight[:-1] + self.weight[-1]).float()


@dataclass(frozen=True)
class ProbeFigures:
    """The figures of a probe.

    Attributes:
        r2: explained variance of the true state on held-out episodes, mean over the dimensions that vary.
        std: mean over dimensions of the states' standard deviation: 0 is collapse.
        effective_rank: exp of the entropy of the normalised eigenvalues (Roy and Vetterli, 2007), 1 to D.
    """

    r2: float
    std: float
    effective_rank: float

    def plain(self) -> dict[str, float]:
        """Return the figures as a dict."""
        return asdict(self)


def probe_modules(modules: Mapping[str, Module], experience: ReplayBuffer | None) -> tuple[ProbeFigures, Readout] | None:
    """Probe the first perception and world model among some modules; None without them, or if the true state is unknown.

    Raises as `probe` does.
    """
    perception = next((m for m in modules.values() if isinstance(m, Perception)), None)
    world_model = next((m for m in modules.values() if isinstance(m, WorldModel)), None)
    if perception is None or world_model is None or experience is None or not _has_truth(experience):
        return None
    return probe(experience, perception, world_model)


@torch.no_grad()
def probe(experience: ReplayBuffer, perception: Perception, world_model: WorldModel) -> tuple[ProbeFigures, Readout]:
    """Fit on three quarters of the episodes, score on the rest.

    Raises:
        SettingError: there are fewer than 2 episodes, or states are not finite.
    """
    count = experience.num_episodes
    require(count >= 2, f"a probe got {count} episodes: expected 2 or more, for a fit and a held-out score")
    split = max(1, int(count * TRAIN_SHARE))
    parts: list[tuple[Tensor, Tensor]] = []
    for chosen in (range(split), range(split, count)):
        some = experience.some(chosen)
        truth = some.column(TRUTH)
        states = states_of(some, percepts_of(some, perception), world_model).whole()
        parts.append((states.double(), truth.double()))
    (fit, fit_truth), (test, test_truth) = parts
    require(bool(fit.isfinite().all() and test.isfinite().all()),
            f"{type(world_model).__name__} returned states that are not finite: "
            f"{_cause(experience, perception, world_model)}")
    readout = fit_readout(fit, fit_truth)
    error = (readout(test).double() - test_truth).square().mean(0)
    variance = test_truth.var(0, correction=0)
    varies = variance > SMALLEST_SPREAD
    r2 = (1 - error[varies] / variance[varies]).mean() if varies.any() else torch.tensor(float("nan"))
    test = test.flatten(1)
    centred = test - test.mean(0)
    eigenvalues = torch.linalg.svdvals(centred).square()
    share = eigenvalues / eigenvalues.sum().clamp(min=1e-300)
    rank = torch.exp(-(share * share.clamp(min=1e-300).log()).sum())
    return ProbeFigures(float(r2), float(test.std(0).mean()), float(rank)), readout


def _has_truth(experience: ReplayBuffer) -> bool:
    return TRUTH in experience.columns and 0 not in experience.columns[TRUTH].shape


def _cause(experience: ReplayBuffer, perception: Perception, world_model: WorldModel) -> str:
    """Return why states are not finite: the observations, the weights, or the modules' own computation."""
    if not all(bool(part.isfinite().all()) for part in experience.frames()):
        return "the world's observations are not. Fix: correct the world, or cut such values off in a wrapper"
    weights = [*perception.state_dict().values(), *world_model.state_dict().values()]
    if not all(bool(value.isfinite().all()) for value in weights):
        return "the weights are not: learning has diverged. Fix: a smaller learning_rate, or clip > 0"
    return "observations and weights are. Fix: correct the perception or the world model"


def fit_readout(states: Tensor, truth: Tensor, ridge: float = RIDGE) -> Readout:
    """Fit a ridge regression from states (N, *S) to the true state (N, X)."""
    mean, spread = states.mean(0), states.std(0) + SMALLEST_SPREAD
    design = torch.cat([((states - mean) / spread).flatten(1), states.new_ones(len(states), 1)], dim=1)
    gram = design.T @ design + ridge * len(states) * torch.eye(design.shape[1], dtype=design.dtype)
    return Readout(mean, spread, torch.linalg.solve(gram, design.T @ truth))
