"""The contracts of memories, goals, actors and configurators.

Shapes: B parallel worlds, A action width, S the size of a state.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ami.blueprint import Memory
from ami.errors import AmiError
from ami.module import Module
from ami.testing.masks import check_masks
from ami.testing.module import check_module
from ami.testing.report import Report
from ami.testing.subject import Make, Sizes

FAR = 10.0


def check_memory(make: Make, *, dims: Sizes | None = None, batch: int = 3,
                 report: Report | None = None) -> None:
    """Check the promises of every memory.

    All of `check_module` · scores lie in 0 to 1 and are 0 while nothing is kept · a kept state recalls itself, states far
    from all kept ones match worse. A memory that needs further inputs is read by those: the last three are not checked.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = check_module(make, dims=dims, batch=batch, report=report)
    if any(not port.optional for name, port in subject.draft.inputs.items() if name not in Memory.inputs):
        return
    with subject.keeps("scores lie in 0 to 1", "the score is 0 while nothing is kept", "a kept state recalls itself",
                       "states far from all kept ones match worse"):
        energy = torch.ones(batch)
        shape = subject.draft.inputs["state"].shape(subject.dims)
        here, there = torch.randn(2, batch, *shape, generator=torch.Generator().manual_seed(9))
        record = subject.run(subject.fresh(range(batch)), [
            {"state": state, "energy": energy, "surprise": energy} for state in (here, there + FAR, here, here - 2 * FAR)])
        scores = torch.stack([outputs["score"] for outputs in record])
        if bool((scores < 0).any()) or bool((scores > 1).any()):
            subject.broken("scores lie in 0 to 1", f"they go from {float(scores.min()):.3g} to {float(scores.max()):.3g}",
                           "such as exp(-distance)")
        if bool(scores[0].any()):
            subject.broken("the score is 0 while nothing is kept", f"it is {scores[0].tolist()}", "read before writing")
        if not bool(scores[2].any()):
            return  # a memory that keeps nothing
        recall = record[2]["recall"]
        if bool(((recall - here).abs().flatten(1).sum(1) > (recall - there - FAR).abs().flatten(1).sum(1)).any()):
            subject.broken("a kept state recalls itself", "it recalls another one",
                           "weigh near keys most")
        if bool((scores[3] >= scores[2]).any()):
            subject.broken("states far from all kept ones match worse", "its score is not lower",
                           "lower it with distance")


def check_goal(make: Make, *, dims: Sizes | None = None, calls: Mapping[str, Module] | None = None,
               batch: int = 3, report: Report | None = None) -> None:
    """Check the promises of every goal: all of `check_module` · an unchanged observation gives an unchanged goal.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = check_module(make, dims=dims, calls=calls, batch=batch, report=report)
    with subject.keeps("an unchanged observation gives an unchanged goal"):
        (inputs,) = subject.sample_inputs(batch, 1)
        first, second = (outputs["goal"] for outputs in subject.run(subject.fresh(range(batch)), [inputs, inputs]))
        if not torch.equal(first, second):
            subject.broken("an unchanged observation gives an unchanged goal", "the second tick has another goal",
                           "keep the goal in self.carry")


def check_actor(make: Make, *, dims: Sizes | None = None, calls: Mapping[str, Module] | None = None,
                batch: int = 3, report: Report | None = None) -> None:
    """Check the promises of every actor.

    All of `check_module` · actions lie in [-1, 1] · with an input `action_mask`, they are allowed · it acts in Mode-1 too,
    or refuses with an AmiError.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = check_module(make, dims=dims, calls=calls, batch=batch, report=report)
    with subject.keeps("its actions lie in [-1, 1]"):
        sequence = subject.sample_inputs(batch, 4)
        actions = torch.stack([outputs["action"] for outputs in subject.run(subject.fresh(range(batch)), sequence)])
        if bool((actions.abs() > 1 + 1e-6).any()):
            subject.broken("its actions lie in [-1, 1]", f"one is {float(actions.abs().max()):.3g}", "clamp the action")
    check_masks(subject, batch, lambda outputs: outputs["action"])
    with subject.keeps("it acts in Mode-1 too, or refuses with an AmiError"):
        reacting = [{**inputs, "mode": torch.ones(batch, dtype=torch.int64)} for inputs in subject.sample_inputs(batch, 4)]
        try:
            reacted = subject.run(subject.fresh(range(batch)), reacting)
        except AmiError:
            return
        if not all(bool(torch.isfinite(outputs["action"]).all()) for outputs in reacted):
            subject.broken("it acts in Mode-1 too, or refuses with an AmiError", "an action is not finite",
                           "raise SettingError with the fix where there is no policy")


def check_configurator(make: Make, *, dims: Sizes | None = None, batch: int = 3,
                       report: Report | None = None) -> None:
    """Check the promises of every configurator: all of `check_module` · modes are 1 or 2 · weights are 0 or more.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = check_module(make, dims=dims, batch=batch, report=report)
    with subject.keeps("modes are 1 or 2", "weights are not negative"):
        for outputs in subject.run(subject.fresh(range(batch)), subject.sample_inputs(batch, 4)):
            if not bool(torch.isin(outputs["mode"], torch.tensor([1, 2])).all()):
                subject.broken("modes are 1 or 2", f"they are {outputs['mode'].tolist()}", "1 reacts, 2 plans")
            if bool((outputs["weights"] < 0).any()):
                subject.broken("weights are not negative", f"they are {outputs['weights'].tolist()}",
                               "clamp the weights at 0: a negative one rewards high energy")
