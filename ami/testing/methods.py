"""The promises of callable methods: pure, so that the engine can serve them from replicas, and fit for inference mode.

Shapes: B parallel worlds, K candidates, H horizon, T ticks of a sequence, and the sizes of the ports.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ami.blueprint import Prediction, WorldModel
from ami.errors import AmiError
from ami.module import Module
from ami.ports import shape_of
from ami.testing.stubs import sizes
from ami.testing.subject import Subject, difference

K, H, T = 5, 3, 4
PLANNED = ("imagine", "imagine_last", "distance", "energy")
"""The methods that planners call in torch's inference mode."""


def arguments(subject: Subject, method: str, batch: int) -> tuple[Any, ...] | None:
    """Return sampled arguments for a method of the blueprint; None for other methods."""
    dims = subject.dims
    generator = torch.Generator().manual_seed(11)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def noise(*leading: int) -> Tensor | None:
        shape = shape_of(dims, "Z")
        return draw(*leading, *shape) if shape else None

    def plans() -> Tensor:
        return subject.plan_space.nearest(draw(batch, K, H, *sizes(dims["U"])))

    state, goal, action = sizes(dims["S"]), sizes(dims["Q"]), sizes(dims["A"])
    match method:
        case "encode":
            return (subject.draft.inputs["observation"].sample(dims, batch, generator),)
        case "observe":
            return draw(batch, T, *sizes(dims["P"])), subject.actions.nearest(draw(batch, T, *action)), None, noise(batch, T)
        case "imagine" | "imagine_last":
            return draw(batch, *state), plans(), noise(batch, K, H)
        case "goal_of":
            return (draw(batch, *sizes(dims["P"])),)
        case "distance" | "propose" | "intrinsic_energy":
            return draw(batch, *state), draw(batch, *goal)
        case "rebase_goal":
            return draw(batch, *goal), draw(batch, *state)
        case "encode_action":
            return draw(batch, *state), subject.actions.nearest(draw(batch, *action))
        case "decode_action":
            return draw(batch, *state), plans()[:, 0, 0]
        case "energy":
            imagined = Prediction(draw(batch, K, H, *state), *(draw(batch, K, H).sigmoid() for _ in range(3)))
            return imagined, plans(), draw(batch, *goal), torch.ones(batch, *sizes(dims["W"]))
        case _:
            return None


def call(module: Module, method: str, given: tuple[Any, ...]) -> dict[str, Tensor | None]:
    """Call a method without gradients and return its result as named tensors."""
    with torch.no_grad():
        result = getattr(module, method)(*given)
    if isinstance(result, Tensor):
        return {method: result}
    if not isinstance(result, Prediction):  # states and a carry
        states, carry = result
        return {f"{method}.states": states, **{f"{method}.carry.{name}": value for name, value in carry.items()}}
    return {f"{method}.{name}": value for name, value in result._asdict().items()}


def check_callable_methods(subject: Subject, batch: int) -> None:
    """Check every callable method of the blueprint: equal arguments give equal results, and nothing changes.

    Those that planners call work in torch's inference mode.
    """
    for method in subject.draft.callable_methods():
        if method == "imagine_last" and getattr(type(subject.draft), method) is WorldModel.imagine_last:
            continue  # as pure as imagine
        given = arguments(subject, method, batch)
        if given is None:
            continue
        promise = f"the callable method {method} is pure"
        with subject.keeps(promise):
            module = subject.fresh(range(batch))
            subject.run(module, subject.sample_inputs(batch, 1))
            before = _standing(module)
            copies = copy.deepcopy(given)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                try:
                    first = call(module, method, given)
                except AmiError:  # a refusal is allowed, such as of a cost without the reward of a state
                    continue
                torch.manual_seed(2)
                second = call(module, method, given)
            changed = difference(first, second)
            if changed:
                subject.broken(promise, f"called twice with the same arguments, {changed}",
                               "let it depend on its arguments and the weights alone")
            changed = difference(before, _standing(module))
            if changed:
                subject.broken(promise, f"it changed the module: {changed}", "write to self only in step()")
            for number, (argument, before_it) in enumerate(zip(given, copies, strict=True)):
                many = isinstance(argument, Prediction)
                parts = zip(argument, before_it, strict=True) if many else [(argument, before_it)]
                if not all(one is None or torch.equal(one, other) for one, other in parts):
                    subject.broken(promise, f"it changed its argument number {number}",
                                   "no operation in place on an argument")
        if method in PLANNED:
            _check_inference(subject, module, method, first)


def _check_inference(subject: Subject, module: Module, method: str, expected: dict[str, Tensor | None]) -> None:
    """Call a method as a planner does, with tensors of inference mode."""
    promise, fix = f"{method} works in inference mode", ("a gradient of its own needs torch.inference_mode(False), "
                                                        "torch.enable_grad() and clones of the arguments")
    with subject.keeps(promise):
        try:
            with torch.inference_mode():
                found = call(module, method, arguments(subject, method, module.batch) or ())
        except RuntimeError as error:
            subject.broken(promise, f"it raised {type(error).__name__}: {error}", fix)
        changed = difference(expected, found, exact=False)
        if changed:
            subject.broken(promise, f"there {changed}", fix)


def _standing(module: Module) -> dict[str, Tensor | None]:
    """Return the weights and state of a module."""
    weights = {f"weight {name}": value.clone() for name, value in module.state_dict().items()}
    return {**weights, **module.snapshot()}
