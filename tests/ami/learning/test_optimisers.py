"""Optimisers without torch.compile's wrappers: the same updates as torch's own, and no import of torch._dynamo."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ami.learning.optimisers import unwrapped

OPTIMISERS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (torch.optim.AdamW, {"weight_decay": 1e-2, "fused": True}), (torch.optim.Adam, {"fused": True}),
    (torch.optim.NAdam, {"decoupled_weight_decay": True}),
    (torch.optim.SGD, {"lr": 1e-2, "momentum": 0.9, "nesterov": True}), (torch.optim.RMSprop, {})]


def learnt(made: type[Optimizer], settings: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Take five steps, with a scheduler and a resumed state after the second."""
    torch.manual_seed(0)
    net, data = nn.Linear(5, 3), torch.randn(8, 5)
    optimiser = made(net.parameters(), **settings)
    scheduler = LambdaLR(optimiser, lambda step: 1 / (step + 1))
    for number in range(5):
        optimiser.zero_grad()
        net(data).square().mean().backward()
        optimiser.step()
        scheduler.step()
        if number == 1:
            saved, rates = optimiser.state_dict(), scheduler.state_dict()
            optimiser = made(net.parameters(), **settings)
            scheduler = LambdaLR(optimiser, lambda step: 1 / (step + 1))
            optimiser.load_state_dict(saved)
            scheduler.load_state_dict(rates)
    return net.state_dict(), optimiser.state_dict()


@pytest.mark.parametrize(("made", "settings"), OPTIMISERS, ids=lambda value: getattr(value, "__name__", ""))
def test_updates_equal_those_of_torch(made: type[Optimizer], settings: dict[str, Any]) -> None:
    ours, state = learnt(unwrapped(made), settings)
    theirs, expected = learnt(made, settings)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert state["param_groups"] == expected["param_groups"] and len(state["state"]) == len(expected["state"])


def test_no_step_imports_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    learnt(unwrapped(torch.optim.AdamW), {"fused": True})
    with pytest.raises(ImportError, match=r"torch\._dynamo"):
        learnt(torch.optim.AdamW, {"fused": True})


def test_the_class_is_named_like_torchs_own_and_other_classes_are_unchanged() -> None:
    class Own(torch.optim.SGD):
        """A user's optimiser."""

    assert unwrapped(Own) is Own
    assert unwrapped(torch.optim.SGD).__name__ == "SGD" and issubclass(unwrapped(torch.optim.SGD), torch.optim.SGD)


def test_torchs_own_class_is_unchanged() -> None:
    before = dict(vars(Optimizer))
    unwrapped(torch.optim.Adamax)(nn.Linear(2, 2).parameters()).zero_grad()
    assert dict(vars(Optimizer)) == before
