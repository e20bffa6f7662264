"""Probes of frozen features: classes or numbers read linearly, by attention, or linearly from few labels.

Shapes: F examples of L tokens with D numbers each; K classes. The settings of a probe are chosen on other examples than it
is tested on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.learning.callbacks.attentive_probe import Readout

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
RATES = (1e-3, 3e-3)
HEADS = 8
FEW, DRAWS, FOLDS = 0.01, 5, 5
SMALLEST = 1e-6


class Labelled(NamedTuple):
    """Features (F, L, D), and classes (F,) or numbers (F, K)."""

    tokens: Tensor
    labels: Tensor

    def pooled(self) -> Tensor:
        """The mean over the tokens, (F, D) float32."""
        return self.tokens.float().mean(1)


def fitted(features: Tensor, labels: Tensor, penalty: float, classes: int) -> Tensor:
    """Return the weights (D + 1, K) of a logistic regression with an L2 penalty, by L-BFGS from 0."""
    seen = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
    weight = torch.zeros(seen.shape[1], classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], lr=1, max_iter=100, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(seen @ weight, labels) + penalty * weight[:-1].square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weight.detach()


def accuracy(features: Tensor, labels: Tensor, weight: Tensor) -> float:
    return float(((features @ weight[:-1] + weight[-1]).argmax(1) == labels).float().mean())


def standardised(train: Tensor, *others: Tensor) -> list[Tensor]:
    mean, spread = train.mean(0), train.std(0) + SMALLEST
    return [(one - mean) / spread for one in (train, *others)]


def linear(train: Labelled, chosen: Labelled, test: Labelled) -> tuple[float, float]:
    """Return the test accuracy of a linear probe, and the penalty that was best on the chosen examples."""
    classes = int(train.labels.max()) + 1
    parts = standardised(train.pooled(), chosen.pooled(), test.pooled())
    weights = {penalty: fitted(parts[0], train.labels, penalty, classes) for penalty in PENALTIES[1::2]}
    best = max(weights, key=lambda penalty: accuracy(parts[1], chosen.labels, weights[penalty]))
    return accuracy(parts[2], test.labels, weights[best]), best


def ridge(train: Labelled, chosen: Labelled, test: Labelled) -> tuple[Tensor, float]:
    """Return what a linear probe of the mean token predicts for the numbers of the test examples, (F, K), and the penalty
    that was best on the chosen examples."""
    features, held, tested = standardised(train.pooled(), chosen.pooled(), test.pooled())
    middle = train.labels.mean(0)
    gram, projected = features.T @ features, features.T @ (train.labels - middle)
    weights = {penalty: torch.linalg.solve(gram + penalty * len(features) * torch.eye(len(gram)), projected)
               for penalty in PENALTIES}
    best = min(weights, key=lambda penalty: float((held @ weights[penalty] + middle - chosen.labels).square().mean()))
    return tested @ weights[best] + middle, best


def few_labels(train: Labelled, test: Labelled, seed: int) -> tuple[float, list[float]]:
    """Return the mean test accuracy over draws of 1 % of the labels, with penalties chosen by cross-validation."""
    generator, classes = torch.Generator().manual_seed(seed), int(train.labels.max()) + 1
    pooled, tested, found, penalties = train.pooled(), test.pooled(), [], []
    for _ in range(DRAWS):
        rows = torch.randperm(len(pooled), generator=generator)[:round(FEW * len(pooled))]
        features, held = standardised(pooled[rows], tested)
        labels, fold = train.labels[rows], torch.arange(len(rows)) % FOLDS
        scores = {penalty: sum(accuracy(features[fold == one], labels[fold == one], fitted(
            features[fold != one], labels[fold != one], penalty, classes)) for one in range(FOLDS)) for penalty in PENALTIES}
        best = max(scores, key=scores.__getitem__)
        penalties.append(best)
        found.append(accuracy(held, test.labels, fitted(features, labels, best, classes)))
    return sum(found) / DRAWS, penalties


def attentive(train: Labelled, chosen: Labelled, test: Labelled, seed: int) -> tuple[float, float]:
    """Return the test accuracy of an attention-pooled probe, and the learning rate that was best on the chosen examples."""
    found, rate = attended(train, chosen, test, seed)
    return float((found.argmax(1) == test.labels).float().mean()), rate


def attended(train: Labelled, chosen: Labelled, test: Labelled, seed: int, steps: int = 400, batch: int = 256,
             rates: Sequence[float] = RATES, probe: Callable[[int, int, Tensor, Tensor], nn.Module] = Readout
             ) -> tuple[Tensor, float]:
    """Return what an attention-pooled probe predicts for the test examples, logits (F, K) or, if labels are numbers (F, K),
    these; and the learning rate that was best on the chosen examples."""
    is_class = train.labels.ndim == 1
    outputs = int(train.labels.max()) + 1 if is_class else train.labels.shape[1]
    error = F.cross_entropy if is_class else F.mse_loss
    some = train.tokens[:5000].float()
    mean, spread = some.mean((0, 1)), some.std((0, 1)) + SMALLEST
    readouts = {}
    with torch.random.fork_rng(devices=[]):
        for rate in rates:
            torch.manual_seed(seed)
            readout = probe(some.shape[-1], outputs, mean, spread)
            optimiser = torch.optim.AdamW(readout.parameters(), lr=rate, weight_decay=0.01, fused=True)
            for step in range(steps):
                for group in optimiser.param_groups:
                    group["lr"] = rate * (1 - step / steps)
                rows = torch.randint(len(train.labels), (batch,))
                loss = error(readout(train.tokens[rows].float()), train.labels[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            readouts[rate] = readout
    errors = {rate: float(error(_read(readout, chosen), chosen.labels)) for rate, readout in readouts.items()}
    best = min(errors, key=errors.__getitem__)
    return _read(readouts[best], test), best


class CrossAttention(nn.Module):
    """A query attends with several heads to standardised tokens (N, L, D), then an MLP and a linear map give (N, X): the
    attentive probe of Bardes and others (*V-JEPA*, 2024, section 4.2).

    Args:
        width, outputs: D, a multiple of the 8 heads, and X.
        mean, spread: (D,), of the tokens it is learnt on.
    """

    def __init__(self, width: int, outputs: int, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.mean, self.spread = mean, spread
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.key_value, self.proj = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.head = nn.Linear(width, outputs)

    def forward(self, seen: Tensor) -> Tensor:
        key, value = self.key_value((seen - self.mean) / self.spread).unflatten(-1, (2, HEADS, -1)).unbind(2)
        query = self.query.unflatten(0, (HEADS, 1, -1)).expand(len(seen), -1, -1, -1)
        gathered = F.scaled_dot_product_attention(query, key.transpose(1, 2), value.transpose(1, 2))
        pooled = self.query + self.proj(gathered.flatten(1))
        predicted: Tensor = self.head(self.last_norm(pooled + self.mlp(self.norm(pooled))))
        return predicted


@torch.no_grad()
def _read(readout: nn.Module, examples: Labelled) -> Tensor:
    return torch.cat([readout(part.float()) for part in examples.tokens.split(500)])
