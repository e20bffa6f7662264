"""AttentiveProbe: how much of the true state an attention-pooled linear readout reads from frozen percepts.

A percept of tokens spreads what it knows over places. The probe pools them by one learnt query with cross-attention and
reads the true state linearly from the pooled token (the attentive probing of Chen and others, *Context autoencoder*, 2024,
and of Bardes and others, *V-JEPA*, 2024, with a linear head). The observer is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ami.data.replay_buffer import TRUTH, ReplayBuffer
from ami.errors import require
from ami.learning.callbacks.callback import Callback, Observer
from ami.learning.callbacks.linear_probe import has_truth
from ami.learning.probe import SMALLEST_SPREAD, TRAIN_SHARE
from ami.learning.stage import Stage
from ami.learning.states import percepts_of
from ami.rng import derive_seed


class AttentiveProbe(Callback):
    """`attentive_r2`, the explained variance of the true state on held-out episodes, and `untrained_attentive_r2` before
    learning. A percept (D,) is one token; (…, D) is as many tokens as its leading sizes have places.

    Args:
        steps: optimiser steps of each probe.
        learning_rate: of AdamW.
        batch: percepts per step.
        every: as in `Callback`; by default at the end of a stage alone, since a probe is learnt each time.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, steps: int = 300, learning_rate: float = 3e-3, batch: int = 256, every: int = 0) -> None:
        super().__init__(every)
        require(steps >= 1, f"AttentiveProbe.steps is {steps}: expected 1 or more")
        require(learning_rate > 0, f"AttentiveProbe.learning_rate is {learning_rate}: expected a number above 0")
        require(batch >= 2, f"AttentiveProbe.batch is {batch}: expected 2 or more")
        self.steps, self.learning_rate, self.batch = steps, learning_rate, batch
        self._untrained: dict[str, float] = {}

    def begin(self, observers: Sequence[Observer], episodes: ReplayBuffer) -> None:
        self._untrained = {one.name: self._score(one, episodes) for one in observers if has_truth(episodes)}

    def figures(self, observer: Observer, episodes: ReplayBuffer, stage: Stage, step: int) -> Mapping[str, float]:
        if not has_truth(episodes):
            return {}
        return {"attentive_r2": self._score(observer, episodes),
                "untrained_attentive_r2": self._untrained.get(observer.name, float("nan"))}

    def _score(self, observer: Observer, episodes: ReplayBuffer) -> float:
        """Learn a probe on the first three quarters of the episodes; return its R² on the rest."""
        split = max(1, int(episodes.num_episodes * TRAIN_SHARE))
        parts = [episodes.some(range(split)), episodes.some(range(split, episodes.num_episodes))]
        (seen, truth), (test, test_truth) = [
            (tokens(percepts_of(part, observer.perception).whole()), part.column(TRUTH).float()) for part in parts]
        mean, spread = truth.mean(0), truth.std(0) + SMALLEST_SPREAD
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(derive_seed("attentive probe"))
            readout = Readout(seen.shape[-1], truth.shape[-1], seen.mean((0, 1)), seen.std((0, 1)) + SMALLEST_SPREAD)
            optimiser = torch.optim.AdamW(readout.parameters(), lr=self.learning_rate, fused=True)
            for _ in range(self.steps):
                chosen = torch.randint(len(seen), (self.batch,))
                loss = (readout(seen[chosen]) - (truth[chosen] - mean) / spread).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        with torch.no_grad():
            predicted = torch.cat([readout(part) for part in test.split(1024)]) * spread + mean
        variance = test_truth.var(0, correction=0)
        varies = variance > SMALLEST_SPREAD
        error = (predicted - test_truth).square().mean(0)
        return float((1 - error[varies] / variance[varies]).mean()) if bool(varies.any()) else float("nan")


class Readout(nn.Module):
    """One query attends to standardised tokens (N, L, D); a linear map of what it gathers and of their mean gives (N, X).

    Args:
        width, outputs: D and X.
        mean, spread: (D,), of the tokens it is learnt on.
    """

    def __init__(self, width: int, outputs: int, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.mean, self.spread = mean, spread
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.head = nn.Linear(2 * width, outputs)

    def forward(self, seen: Tensor) -> Tensor:
        """Map tokens (N, L, D) to the standardised true state (N, X)."""
        seen = (seen - self.mean) / self.spread
        weight = (self.key(seen) @ self.query / seen.shape[-1] ** 0.5).softmax(-1)
        pooled = (weight[..., None] * self.value(seen)).sum(-2)
        predicted: Tensor = self.head(torch.cat([pooled, seen.mean(-2)], dim=-1))
        return predicted


def tokens(percepts: Tensor) -> Tensor:
    """Return percepts (F, …, D) as tokens (F, L, D)."""
    return percepts.reshape(len(percepts), -1, percepts.shape[-1])
