"""The contracts of perceptions and world models.

Shapes: B parallel worlds, K candidates, H horizon, A action width; O, P, S the sizes of observation, percept, state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ami.blueprint import Prediction, WorldModel
from ami.module import Module
from ami.testing.learning import check_learning
from ami.testing.methods import H, K, arguments
from ami.testing.module import check_module
from ami.testing.report import Report
from ami.testing.stubs import StubPerception, sizes
from ami.testing.subject import Make, Sizes, Subject, close

WINDOWS, LENGTH = 16, 4


def check_perception(make: Make, *, dims: Sizes | None = None, batch: int = 3,
                     report: Report | None = None) -> None:
    """Check the promises of every perception.

    All of `check_module` · `encode` takes any leading sizes · the percept is the result of `encode`.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = check_module(make, dims=dims, batch=batch, report=report)
    module: Any = subject.fresh(range(batch))
    with subject.keeps("encode takes any leading sizes", "the percept is what encode gives"):
        (observation,) = arguments(subject, "encode", batch) or ()
        with torch.no_grad():
            once = module.encode(observation)
            twice = module.encode(torch.stack([observation, observation], dim=1))
            percept = module.step(observation=observation)["percept"]
        if twice.shape[:2] != (batch, 2) or not close(twice[:, 1], once):
            subject.broken("encode takes any leading sizes", f"observations (B, 2, *O) give {tuple(twice.shape)}",
                           "flatten the leading sizes, and restore them")
        if not close(percept, once):
            subject.broken("the percept is what encode gives", "step() gives another one", "step() may only call encode()")


def check_world_model(make: Make, *, dims: Sizes | None = None, calls: Mapping[str, Module] | None = None,
                      batch: int = 3, report: Report | None = None) -> None:
    """Check the promises of every world model, with a stub perception.

    All of `check_module` · predictions have their shapes · later actions do not change earlier states · candidates are
    independent · a state suffices to continue a rollout · a distance is 0 to the same state, never negative, and
    broadcasts · rebase_goal returns goals and is idempotent · surprise is 0 at an episode's first tick · it learns, if it
    has a loss.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = check_module(make, dims=dims, calls=calls, batch=batch, report=report)
    with subject.keeps("imagine gives a Prediction", "imagine gives states (B, K, H, *S)",
                       "imagine_last gives the last state of imagine", "later actions do not change earlier states",
                       "candidates are independent", "a state suffices to continue a rollout"):
        _check_imagine(subject, batch)
    with subject.keeps("a distance is 0 to the same state and never negative", "a distance broadcasts"):
        _check_distance(subject, batch)
    with subject.keeps("rebase_goal returns goals", "rebase_goal is idempotent"):
        _check_graft(subject, batch)
    with subject.keeps("surprise is 0 at an episode's first tick"):
        first = subject.live(subject.fresh(range(batch)), subject.life(batch, 1))[0]
        if bool(first["surprise"].any()):
            subject.broken("surprise is 0 at an episode's first tick", f"surprise is {first['surprise'].tolist()}",
                           "return 0 without a prediction")
    learner = subject.fresh(range(batch))
    learns = getattr(type(learner), "loss", WorldModel.loss) is not WorldModel.loss
    if learns and any(p.requires_grad for p in learner.parameters()):
        check_learning(subject, learner, _windows(subject, learner))


def _check_imagine(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    state, actions = arguments(subject, "imagine", batch) or ()

    def imagine(start: Tensor, taken: Tensor) -> Tensor:
        with torch.no_grad():
            prediction = module.imagine(start, taken)
        if not isinstance(prediction, Prediction):
            subject.broken("imagine gives a Prediction", f"it gives a {type(prediction).__name__}",
                           "return ami.blueprint.Prediction(states)")
        return prediction.states

    states = imagine(state, actions)
    expected = (batch, K, H, *sizes(subject.dims["S"]))
    if tuple(states.shape) != expected:
        subject.broken("imagine gives states (B, K, H, *S)", f"it gives {tuple(states.shape)}, expected {expected}",
                       "stack the steps along dimension 2")
    with torch.no_grad():
        last = module.imagine_last(state, actions).states
    if not close(last, states[:, :, -1:]):
        subject.broken("imagine_last gives the last state of imagine", f"it gives others, of shape {tuple(last.shape)}",
                       "override both, or none of the two")
    later = actions.clone()
    later[:, :, -1] = -later[:, :, -1]
    if not torch.equal(imagine(state, later)[:, :, :-1], states[:, :, :-1]):
        subject.broken("later actions do not change earlier states", "another last action changed earlier states",
                       "predict step by step, or mask the future")
    if not close(imagine(state, actions[:, :1]), states[:, :1]):
        subject.broken("candidates are independent", "a candidate alone has other states than among others",
                       "no statistics over candidates")
    onwards = imagine(states[:, 0, 0], actions[:, :1, 1:])
    if not close(onwards, states[:, :1, 1:], 1e-3):
        subject.broken("a state suffices to continue a rollout", "a rollout from its own first state leads elsewhere",
                       "make the state Markov: it must hold all inputs of a prediction")


def _check_distance(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    states, goals = arguments(subject, "distance", batch) or ()
    with torch.no_grad():
        same, apart = module.distance(states, states), module.distance(states, goals)
        pairs = module.distance(states[:, None], goals[None])
    if tuple(apart.shape) != (batch,) or bool((apart < 0).any()) or not torch.allclose(same, torch.zeros(batch), atol=1e-3):
        subject.broken("a distance is 0 to the same state and never negative", f"to itself {same.tolist()}, to another "
                       f"{apart.tolist()}", "give (…) for states (…, *S)")
    if tuple(pairs.shape) != (batch, batch) or not close(pairs.diagonal(), apart):
        subject.broken("a distance broadcasts", f"states (B, 1, *S) and goals (1, B, *S) give {tuple(pairs.shape)}",
                       "reduce over the sizes of a state only")


def _check_graft(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    goals, states = arguments(subject, "rebase_goal", batch) or ()
    size = sizes(subject.dims["S"])
    with torch.no_grad():
        once = module.rebase_goal(goals[None], states[:, None])
    if tuple(once.shape) not in ((1, batch, *size), (batch, batch, *size)):
        subject.broken("rebase_goal returns goals", f"goals (1, B, *S) and states (B, 1, *S) give {tuple(once.shape)}",
                       "take some of the state's features and the others of the goal")
    with torch.no_grad():
        twice = module.rebase_goal(once, states[:, None])
    if not close(twice, once):
        subject.broken("rebase_goal is idempotent", "a rebased goal changes when rebased again",
                       "take the state's features as they are")


def _windows(subject: Subject, learner: Module) -> dict[str, Tensor]:
    """Return windows of a world that depends on actions: "observation" (N, T + 1, *O), "action" (N, T, A), "reward" and
    "cont" (N, T)."""
    generator = torch.Generator().manual_seed(5)
    shape = sizes(subject.dims["O"])
    action = torch.rand(WINDOWS, LENGTH, *sizes(subject.dims["A"]), generator=generator) * 2 - 1
    moves = torch.randn(action.shape[-1], *shape, generator=generator)
    start = torch.randn(WINDOWS, 1, *shape, generator=generator)
    path = torch.cat([start, start + torch.tensordot(action.cumsum(1), moves, dims=1)], dim=1)
    others = {"action": action, "reward": action.sum(-1), "cont": (action[..., 0] > -0.5).float()}
    perception = subject.callee(learner, "perception")
    if perception is None or isinstance(perception, StubPerception):
        return {"observation": path, **others}
    port = perception.inputs["observation"]
    drawn = (path * 40 + 128).clamp(0, 255) if port.dtype == torch.uint8 else path
    return {"observation": drawn.to(port.dtype or torch.float32), **others}
