"""The contract of costs.

Shapes: B parallel worlds, K candidates, H horizon, A action width, S the size of a state, W terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ami.blueprint import CriticTerm, IntrinsicTerm, Prediction
from ami.module import Module
from ami.testing.learning import check_learning
from ami.testing.methods import K, arguments
from ami.testing.module import check_module
from ami.testing.report import Report
from ami.testing.stubs import sizes
from ami.testing.subject import Make, Sizes, Subject, close

STATES, SUCCESSORS = 16, 3


def check_cost(make: Make, *, dims: Sizes | None = None, calls: Mapping[str, Module] | None = None,
               batch: int = 3, report: Report | None = None) -> None:
    """Check the promises of every cost, with a stub world model.

    All of `check_module` · energy = intrinsic + critic · candidates are independent · weights of 1 change nothing ·
    intrinsic terms have no parameters · its critics learn, if any.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = check_module(make, dims=dims, calls=calls, batch=batch, report=report)
    module: Any = subject.fresh(range(batch))
    with subject.keeps("energy = intrinsic + critic"):
        sent = subject.run(module, subject.sample_inputs(batch, 1))[0]
        if not close(sent["energy"], sent["intrinsic"] + sent["critic"]):
            subject.broken("energy = intrinsic + critic", f"{sent['energy'].tolist()} is not "
                           f"{sent['intrinsic'].tolist()} + {sent['critic'].tolist()}", "add the two (paper, equation 1)")
    with subject.keeps("energy gives (B, K)", "weights of 1 change nothing", "candidates are independent"):
        _check_energy(subject, batch)
    with subject.keeps("intrinsic terms have no parameters"):
        for name, part in module.named_modules():
            if isinstance(part, IntrinsicTerm) and any(True for _ in part.parameters()):
                subject.broken("intrinsic terms have no parameters", f"{name} has parameters", "make them buffers")
    if any(isinstance(part, CriticTerm) for part in module.modules()):
        state, goal = sizes(subject.dims["S"]), sizes(subject.dims["Q"])
        generator = torch.Generator().manual_seed(5)
        check_learning(subject, module, {
            "state": torch.randn(STATES, *state, generator=generator),
            "successors": torch.randn(STATES, SUCCESSORS, *state, generator=generator),
            "goal": torch.randn(STATES, *goal, generator=generator),
            "next": torch.randn(STATES, *goal, generator=generator),
            "reward": torch.randn(STATES, SUCCESSORS, generator=generator),
            "cont": torch.rand(STATES, SUCCESSORS, generator=generator)})


def _check_energy(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    imagined, actions, goal, weights = arguments(subject, "energy", batch) or ()
    with torch.no_grad():
        energy = module.energy(imagined, actions, goal, weights)
        plain = module.energy(imagined, actions, goal)
        others = (None if part is None else part[:, :1] for part in imagined[1:])
        first = Prediction(imagined.states[:, :1], *others)
        alone = module.energy(first, actions[:, :1], goal, weights)
    if tuple(energy.shape) != (batch, K):
        subject.broken("energy gives (B, K)", f"it gives {tuple(energy.shape)}, expected {(batch, K)}",
                       "reduce over H and S")
    if not close(energy, plain):
        subject.broken("weights of 1 change nothing", "they give another energy than no weights",
                       "multiply the cost's own weights with them")
    if not close(alone, energy[:, :1]):
        subject.broken("candidates are independent", "a candidate alone has another energy than among others",
                       "no statistics over candidates")
