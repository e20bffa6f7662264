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
from ami.ports import shape_of
from ami.testing.learning import check_learning
from ami.testing.methods import H, K, T, arguments
from ami.testing.module import check_module
from ami.testing.report import Report
from ami.testing.stubs import StubPerception, sizes
from ami.testing.subject import Make, Sizes, Subject, close

WINDOWS, LENGTH = 16, 4
OBSERVED = "observe gives states (N, T, *S) and a carry"
SEQUENCE = "observing a sequence is observing its percepts one by one"
NOISE = "a declared noise is used"


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

    All of `check_module` · observing a sequence is observing its percepts one by one, and `step` observes one · goals and
    predictions have their shapes, and no row or candidate affects another · a declared noise is used · if it is `causal`,
    later actions do not change earlier states, and a state suffices to continue a rollout · a distance is 0 to the same
    state, never negative, and broadcasts · rebase_goal returns goals and is idempotent · a plan's actions are decoded to
    the world's · surprise is 0 at an episode's first tick · it learns, if it has a loss.

    Raises:
        AssertionError: a promise is broken.
    """
    subject = Subject(make, dims, calls, report)
    with subject.keeps(OBSERVED, "imagine gives a Prediction", vital=True):  # step() needs both
        module: Any = subject.fresh(range(batch))
        _observe(subject, module, *(arguments(subject, "observe", batch) or ()))
        _imagine(subject, module, *(arguments(subject, "imagine", batch) or ()))
    subject = check_module(make, dims=dims, calls=calls, batch=batch, report=report)
    with subject.keeps(SEQUENCE, "a step observes one percept"):
        _check_observe(subject, batch)
    with subject.keeps("goal_of gives goals (…, *Q)"):
        _check_goals(subject, batch)
    with subject.keeps("imagine gives states (B, K, H, *S)",
                       "imagine_last gives the last state of imagine", "candidates are independent",
                       "imagined rows are independent"):
        _check_imagine(subject, batch)
    if shape_of(subject.dims, "Z"):
        with subject.keeps(NOISE):
            _check_noise(subject, batch)
    if getattr(subject.draft, "causal", True):
        with subject.keeps("later actions do not change earlier states", "a state suffices to continue a rollout"):
            _check_causal(subject, batch)
    with subject.keeps("a distance is 0 to the same state and never negative", "a distance broadcasts"):
        _check_distance(subject, batch)
    with subject.keeps("rebase_goal returns goals", "rebase_goal is idempotent"):
        _check_rebase_goal(subject, batch)
    with subject.keeps("encode_action gives a plan's actions, decode_action the world's"):
        _check_actions(subject, batch)
    with subject.keeps("surprise is 0 at an episode's first tick"):
        first = subject.run(subject.fresh(range(batch)), subject.sample_inputs(batch, 1))[0]
        if bool(first["surprise"].any()):
            subject.broken("surprise is 0 at an episode's first tick", f"surprise is {first['surprise'].tolist()}",
                           "return 0 without a prediction")
    learner = subject.fresh(range(batch))
    learns = getattr(type(learner), "loss", WorldModel.loss) is not WorldModel.loss
    if learns and any(p.requires_grad for p in learner.parameters()):
        check_learning(subject, learner, _windows(subject, learner))


def _observe(subject: Subject, module: Any, percepts: Tensor, actions: Tensor, carry: Any, noise: Tensor | None) -> Tensor:
    with torch.no_grad():
        observed = module.observe(percepts, actions, carry, noise)
    if not isinstance(observed, tuple) or len(observed) != 2 or not isinstance(observed[1], dict):
        subject.broken(OBSERVED, f"it gives a {type(observed).__name__}", "return states, carry")
    states: Tensor = observed[0]
    expected = (*percepts.shape[:2], *sizes(subject.dims["S"]))
    if tuple(states.shape) != expected:
        subject.broken(OBSERVED, f"it gives {tuple(states.shape)}, expected {expected}", "one state per percept")
    known = sorted(module.initial_carry(len(percepts)))
    if sorted(observed[1]) != known:
        subject.broken(OBSERVED, f"its carry has {sorted(observed[1])}, initial_carry() has {known}",
                       "return the same names from both")
    return states


def _check_observe(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    percepts, actions, _, noise = arguments(subject, "observe", batch) or ()
    states = _observe(subject, module, percepts, actions, None, noise)
    with torch.no_grad():
        carry, before = None, states
        for tick in range(T):
            now = slice(tick, tick + 1)
            alone, carry = module.observe(percepts[:, now], actions[:, now], carry or None,
                                          None if noise is None else noise[:, now])
            if not close(alone[:, 0], before[:, tick]):
                subject.broken(SEQUENCE, f"at tick {tick} the state is another one",
                               "put all it remembers into the carry, and use no later percept")
    drawn = None
    if noise is not None:
        random = subject.fresh(range(batch)).random
        drawn = torch.stack([random.normal(*noise.shape[2:]) for _ in range(T)], dim=1)
    with torch.no_grad():
        states, _ = module.observe(percepts, actions, None, drawn)
    sequence = [{"percept": percepts[:, tick], "action": actions[:, tick]} for tick in range(T)]
    for tick, outputs in enumerate(subject.run(subject.fresh(range(batch)), sequence)):
        if not close(outputs["state"], states[:, tick]):
            subject.broken("a step observes one percept", f"at tick {tick} step() gives another state than observe()",
                           "leave step() as it is, and implement observe()")


def _check_goals(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    (percept,) = arguments(subject, "goal_of", batch) or ()
    with torch.no_grad():
        once, twice = module.goal_of(percept), module.goal_of(torch.stack([percept, percept], dim=1))
    size = sizes(subject.dims["Q"])
    if tuple(once.shape) != (batch, *size) or tuple(twice.shape) != (batch, 2, *size) or not close(twice[:, 1], once):
        subject.broken("goal_of gives goals (…, *Q)", f"percepts (B, *P) give {tuple(once.shape)} and (B, 2, *P) "
                       f"{tuple(twice.shape)}; *Q is {size}",
                       "map the sizes of a percept only, and decide Q in infer_dims()")


def _imagine(subject: Subject, module: Any, start: Tensor, taken: Tensor, noise: Tensor | None) -> Tensor:
    with torch.no_grad():
        prediction = module.imagine(start, taken, noise)
    if not isinstance(prediction, Prediction):
        subject.broken("imagine gives a Prediction", f"it gives a {type(prediction).__name__}",
                       "return ami.blueprint.Prediction(states)")
    return prediction.states


def _check_imagine(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    state, actions, noise = arguments(subject, "imagine", batch) or ()
    states = _imagine(subject, module, state, actions, noise)
    expected = (batch, K, H, *sizes(subject.dims["S"]))
    if tuple(states.shape) != expected:
        subject.broken("imagine gives states (B, K, H, *S)", f"it gives {tuple(states.shape)}, expected {expected}",
                       "stack the steps along dimension 2")
    with torch.no_grad():
        last = module.imagine_last(state, actions, noise).states
    if not close(last, states[:, :, -1:]):
        subject.broken("imagine_last gives the last state of imagine", f"it gives others, of shape {tuple(last.shape)}",
                       "override both, or none of the two")
    one, row = slice(0, 1), slice(batch - 1, batch)
    alone = _imagine(subject, module, state, actions[:, one], None if noise is None else noise[:, one])
    if not close(alone, states[:, one]):
        subject.broken("candidates are independent", "a candidate alone has other states than among others",
                       "no statistics over candidates")
    alone = _imagine(subject, module, state[row], actions[row], None if noise is None else noise[row])
    if not close(alone, states[row]):
        subject.broken("imagined rows are independent", "a row alone has other states than among others",
                       "no statistics over the batch; take random numbers from `noise` alone")


def _check_noise(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    state, actions, noise = arguments(subject, "imagine", batch) or ()
    if close(_imagine(subject, module, state, actions, noise), _imagine(subject, module, state, actions, -noise)):
        subject.broken(NOISE, "other noise gives the same states", "use `noise`, or return no Z from infer_dims()")


def _check_causal(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    state, actions, noise = arguments(subject, "imagine", batch) or ()
    states = _imagine(subject, module, state, actions, noise)
    later = actions.clone()
    later[:, :, -1] = -later[:, :, -1]
    if not torch.equal(_imagine(subject, module, state, later, noise)[:, :, :-1], states[:, :, :-1]):
        subject.broken("later actions do not change earlier states", "another last action changed earlier states",
                       "predict step by step, mask the future, or declare causal = False")
    continued = _imagine(subject, module, states[:, 0, 0], actions[:, :1, 1:], None if noise is None else noise[:, :1, 1:])
    if not close(continued, states[:, :1, 1:], 1e-3):
        subject.broken("a state suffices to continue a rollout", "a rollout from its own first state leads elsewhere",
                       "make the state Markov: it must hold all inputs of a prediction")


def _check_distance(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    states, goals = arguments(subject, "distance", batch) or ()
    with torch.no_grad():
        apart = module.distance(states, goals)
        pairs = module.distance(states[:, None], goals[None])
        same = module.distance(states, states) if states.shape == goals.shape else None
    if tuple(apart.shape) != (batch,) or bool((apart < 0).any()) or (
            same is not None and not torch.allclose(same, torch.zeros(batch), atol=1e-3)):
        itself = "" if same is None else f"to itself {same.tolist()}, "
        subject.broken("a distance is 0 to the same state and never negative", f"{itself}to another {apart.tolist()}",
                       "give (…) for states (…, *S)")
    if tuple(pairs.shape) != (batch, batch) or not close(pairs.diagonal(), apart):
        subject.broken("a distance broadcasts", f"states (B, 1, *S) and goals (1, B, *S) give {tuple(pairs.shape)}",
                       "reduce over the sizes of a state only")


def _check_actions(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    state, action = arguments(subject, "encode_action", batch) or ()
    with torch.no_grad():
        chosen = module.encode_action(state, action)
        taken = module.decode_action(state, chosen)
    wanted = (batch, subject.dims["U"]), (batch, subject.dims["A"])
    if (tuple(chosen.shape), tuple(taken.shape)) != wanted or not bool(torch.isfinite(taken).all()):
        subject.broken("encode_action gives a plan's actions, decode_action the world's",
                       f"they give {tuple(chosen.shape)} and {tuple(taken.shape)}, expected {wanted[0]} and {wanted[1]}",
                       "override both if U differs from A")


def _check_rebase_goal(subject: Subject, batch: int) -> None:
    module: Any = subject.fresh(range(batch))
    goals, states = arguments(subject, "rebase_goal", batch) or ()
    size = sizes(subject.dims["Q"])
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
