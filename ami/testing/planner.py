"""The contract of planners.

Shapes: B parallel worlds, K random plans, H horizon, A action width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.module import Module
from ami.testing.masks import check_masks
from ami.testing.module import TICKS, check_module, check_row_alone
from ami.testing.report import Report
from ami.testing.stubs import StubWorldModel
from ami.testing.subject import Make, Sizes, Subject

RANDOM_PLANS = 64
ONE_HOT = "its discrete actions are one-hot"


def check_planner(make: Make, *, dims: Sizes | None = None, calls: Mapping[str, Module] | None = None,
                  batch: int = 3, report: Report | None = None) -> None:
    """Check the promises of every planner, with a stub world model and a stub cost.

    All of `check_module` · actions lie in [-1, 1], discrete ones are one-hot · its plans have less energy than random
    ones · its model_steps are correct · with an input `action_mask`, a plan's first action is allowed · rows in
    Mode-1 stay idle, and do not affect the others.

    Args:
        make: factory of the planner: a class whose settings have defaults, or a function without arguments.
        dims: sizes to use, by symbol: {"A": ActionSpace(choices=(3,))} checks it with discrete actions, which is also the
            default for a planner that refuses continuous ones.
        calls: modules to bind to its calls, by name, in place of stubs.
        batch: B.
        report: collects the findings; None raises at the first broken promise.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = check_module(make, dims=dims, calls=calls, batch=batch, report=report)
    with subject.keeps("its model_steps are correct"):
        _check_counting(subject, batch)
    if subject.draft.requires:  # a planner without calls has no promises about its plans
        fits = ONE_HOT if subject.plan_space.choices else "its actions lie in [-1, 1]"
        with subject.keeps(fits, "its plans have less energy than random ones"):
            _check_quality(subject, batch)
    check_masks(subject, batch, lambda outputs: outputs["plan"][:, 0])
    with subject.keeps("rows in Mode-1 stay idle"):
        _check_modes(subject, batch)


def _check_counting(subject: Subject, batch: int) -> None:
    module = subject.fresh(range(batch))
    model = subject.callee(module, "world_model")
    if not isinstance(model, StubWorldModel):
        return
    for tick, inputs in enumerate(subject.sample_inputs(batch, TICKS)):
        before = model.steps
        (outputs,) = subject.run(module, [inputs])
        predicted, counted = model.steps - before, int(outputs["model_steps"].sum())
        if predicted != counted:
            subject.broken("its model_steps are correct",
                           f"model_steps adds up to {counted} over {batch} worlds at tick {tick}, the world model predicted "
                           f"{predicted}", "per world, candidates × horizon × iterations")


def _check_quality(subject: Subject, batch: int) -> None:
    module = subject.fresh(range(batch))
    inputs = subject.sample_inputs(batch, 1)[0]
    (outputs,) = subject.run(module, [inputs])
    plan = outputs["plan"]
    if subject.plan_space.choices:
        fits = subject.plan_space.fits(plan)
        if not bool(fits.all()):
            wrong = [round(number, 3) for number in plan[~fits][0].tolist()]
            subject.broken(ONE_HOT, f"one is {wrong}", "plan self.actions.nearest(scores), or self.actions.one_hot(chosen)")
    elif bool((plan.abs() > 1 + 1e-6).any()):
        subject.broken("its actions lie in [-1, 1]", f"one is {float(plan.abs().max()):.3g}", "clamp the plan")
    generator = torch.Generator().manual_seed(3)
    drawn = torch.stack([module.outputs["plan"].sample(module.dims, batch, generator, subject.plan_space)
                         for _ in range(RANDOM_PLANS)], 1)
    own, by_chance = _energy(module, inputs, plan[:, None])[:, 0], _energy(module, inputs, drawn).mean(1)
    worse = (own >= by_chance).nonzero()[:, 0].tolist()
    if worse:
        row = worse[0]
        subject.broken("its plans have less energy than random ones",
                       f"row {row}: {float(own[row]):.4g}, {RANDOM_PLANS} random plans have {float(by_chance[row]):.4g} in "
                       "the mean", "take candidates of low energy, not high")


def _energy(module: Module, inputs: Mapping[str, Tensor | None], plans: Tensor) -> Tensor:
    """Return the energies (B, K) of plans (B, K, H, A), by the module's own calls."""
    with torch.no_grad():
        prediction = module.calls.world_model.imagine(inputs["state"], plans)
        energy: Tensor = module.calls.cost.energy(prediction, plans, inputs["goal"], inputs.get("weights"))
    return energy


def _check_modes(subject: Subject, batch: int) -> None:
    sequence = subject.sample_inputs(batch, TICKS)
    for tick, inputs in enumerate(sequence):
        mode = torch.full((batch,), 2)
        mode[tick % batch] = 1
        inputs["mode"] = mode
    for tick, (inputs, outputs) in enumerate(zip(sequence, subject.run(subject.fresh(range(batch)), sequence), strict=True)):
        idle = inputs["mode"] == 1
        if bool(outputs["plan"][idle].any()) or bool(outputs["model_steps"][idle].any()):
            steps, largest = int(outputs["model_steps"][idle].sum()), float(outputs["plan"][idle].abs().max())
            subject.broken("rows in Mode-1 stay idle",
                           f"at tick {tick} such a row has {steps} model steps and a plan up to {largest:.3g}",
                           "give zeros where mode is 1, e.g. plan * (mode == 2)[:, None, None]")
    check_row_alone(subject, sequence)
    all_idle = [{**inputs, "mode": torch.ones(batch, dtype=torch.int64)} for inputs in sequence]
    subject.run(subject.fresh(range(batch)), all_idle)
