"""Schedulers: the rate and the weight decay of each step, also in a resumed stage; refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from ami.errors import SettingError
from ami.learning.schedulers import WarmUpCoolDown, WarmUpCosine


def optimiser(weight_decay: float = 0.04) -> Optimizer:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0, weight_decay=weight_decay)


def course(scheduler: Any, steps: int) -> list[tuple[float, float]]:
    """Return the rate and the weight decay of each step."""
    group, found = scheduler.optimizer.param_groups[0], []
    for _ in range(steps):
        found.append((float(group["lr"]), group["weight_decay"]))
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_weight_decay_rises_along_a_cosine_while_the_rate_falls() -> None:
    found = course(WarmUpCosine(optimiser(), steps=100, warm_up=10, final=0.0, final_weight_decay=0.4), 101)
    rates, decays = zip(*found, strict=True)
    assert decays[0] == pytest.approx(0.04) and decays[50] == pytest.approx(0.22) and decays[100] == pytest.approx(0.4)
    assert list(decays) == sorted(decays)
    assert rates[0] == pytest.approx(0.1) and rates[50] == pytest.approx(0.5) and rates[100] == pytest.approx(0.0)


def test_without_a_final_weight_decay_it_stays() -> None:
    assert {decay for _, decay in course(WarmUpCosine(optimiser(), steps=20), 20)} == {0.04}


def test_cool_down_is_constant_before_its_last_share() -> None:
    rates = [rate for rate, _ in course(WarmUpCoolDown(optimiser(), steps=100, warm_up=10, cool_down=0.2, final=0.1), 101)]
    assert rates[4] == pytest.approx(0.5) and set(rates[10:81]) == {1.0}
    assert rates[90] == pytest.approx(0.55) and rates[100] == pytest.approx(0.1)


@pytest.mark.parametrize("make", [
    lambda one: WarmUpCosine(one, steps=30, final_weight_decay=0.4), lambda one: WarmUpCoolDown(one, steps=30)])
def test_a_resumed_stage_has_the_same_course(make: Callable[[Optimizer], Any]) -> None:
    whole = course(make(optimiser()), 30)
    first = make(optimiser())
    course(first, 12)
    again = optimiser()
    second = make(again)
    again.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert course(second, 18) == whole[12:]


@pytest.mark.parametrize(("make", "words"), [
    (lambda: WarmUpCosine(optimiser(), steps=1, final_weight_decay=-1), "WarmUpCosine.final_weight_decay is -1: expected 0"),
    (lambda: WarmUpCosine(torch.optim.Rprop([torch.nn.Parameter(torch.zeros(1))]), steps=1, final_weight_decay=0.4),
     "WarmUpCosine.final_weight_decay is 0.4, but Rprop has no weight decay. Fix: optimiser: adamw"),
    (lambda: WarmUpCoolDown(optimiser(), steps=0), "WarmUpCoolDown.steps is 0: expected 1 or more"),
    (lambda: WarmUpCoolDown(optimiser(), steps=9, cool_down=2), "WarmUpCoolDown.cool_down is 2: expected 0 to 1"),
])
def test_settings_out_of_range_are_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(SettingError) as error:
        make()
    assert str(error.value).startswith(words)
