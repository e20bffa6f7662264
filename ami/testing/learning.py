"""The promise of modules with a loss: a few optimiser steps on one batch reduce it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ami.testing.subject import Subject

STEPS = 20
LEARNS = f"it learns: {STEPS} steps on one batch lower its loss"


def check_learning(subject: Subject, learner: Any, batch: dict[str, Tensor]) -> None:
    """Check that the loss and its figures are finite scalars, and that 20 steps on one batch reduce the loss.

    Args:
        subject: the examined module.
        learner: a fresh instance, with `loss(batch)`, `begin_learning()` and `after_step(step, total)`.
        batch: the training batch.
    """
    with subject.keeps(LEARNS, "loss() gives 0-d tensors", "its loss is finite", "its loss has a gradient"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            parameters = [p for p in learner.parameters() if p.requires_grad]
            learner.begin_learning()
            optimiser = torch.optim.Adam(parameters, lr=3e-3)
            losses: list[float] = []
            for step in range(STEPS):
                loss, figures = learner.loss(batch)
                _check_scalars(subject, {"loss": loss, **figures})
                optimiser.zero_grad()
                loss.backward()
                _check_gradient(subject, parameters)
                optimiser.step()
                learner.after_step(step, STEPS)
                losses.append(float(loss.detach()))
        if min(losses[-3:]) >= losses[0]:
            subject.broken(LEARNS, f"it went from {losses[0]:.4g} to "
                           f"{losses[-1]:.4g}", "let gradients flow from loss() to the parameters")


def _check_scalars(subject: Subject, figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if not isinstance(value, Tensor) or value.ndim != 0:
            subject.broken("loss() gives 0-d tensors", f"'{name}' is a {type(value).__name__}", "mean() or sum() it")
        if not bool(torch.isfinite(value.detach())):
            subject.broken("its loss is finite", f"'{name}' is {float(value.detach())}", "guard divisions and logarithms")


def _check_gradient(subject: Subject, parameters: list[nn.Parameter]) -> None:
    if not any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in parameters):
        subject.broken("its loss has a gradient", "no parameter receives one", "do not detach trainable parts")
