"""Macro: the base class of world models of a second level, one of whose steps lasts several ticks.

Shapes: D the width of a state of level 1, S of a state of level 2, U of a macro-action, L of an action of level 1; k ticks
of a step; N windows of T = n · k ticks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from ami.blueprint import Prediction, WorldModel, preceding
from ami.errors import require
from ami.module import Batch, Call, callable_method
from ami.ports import Dims, Port, Size
from modules.nets import mlp
from modules.world_model._predictor import Predictor, imagined
from modules.world_model.markov import MarkovWorldModel

REACH = 2.5
"""Standard deviations of the prior in a macro-action's unit: a planner, whose numbers end at 1, searches within them."""
SMALLEST_CHANGE = 1e-3
LOG_STD = -5.0, 2.0


class Macro(MarkovWorldModel):
    """A world model whose percept is the state of level 1 and whose action lasts `ticks` ticks.

    The macro-action is a latent variable: a posterior reads it from k actions of level 1, and its divergence from a standard
    normal keeps it near a known prior, from which a planner can sample (Kingma and Welling, *Auto-encoding variational
    Bayes*, ICLR 2014). The posterior reads no states: a macro-action is one that level 1 can take wherever it starts, and
    the model learns what comes of it there, in front of a wall, too. A planner of any kind searches over macro-actions;
    `target` turns the first one into a goal for level 1. Goals are those of level 1, Q = D.

    The input `action` is the macro-action that level 2 chose last, so that surprise measures how far level 1 missed what
    level 2 imagined. It does so if the node fires every `ticks` ticks.

    A subclass implements `state_of`, `distance`, `target` and `loss`.

    Args:
        ticks: k.
        width: U.
        hidden: width of the networks' hidden layers; the posterior's has a quarter of it.
        kl: weight of the divergence of the macro-actions from the prior.

    Raises:
        SettingError: a setting is out of its range; or, when the graph is built, a state of level 1 is not a vector.
    """

    inputs = {**WorldModel.inputs, "percept": Port("state", ("*P",))}
    requires = {"perception": Call(("encode",), optional=True, learning=True),
                "level1": Call(("observe",), {"S": "P", "U": "L"}, learning=True)}
    equal_dims = {"Q": "P", "U": "A"}

    def __init__(self, ticks: int, width: int, hidden: int, kl: float) -> None:
        super().__init__()
        name = type(self).__name__
        for setting, count in (("ticks", ticks), ("width", width), ("hidden", hidden)):
            require(count >= 1, f"{name}.{setting} is {count}: expected 1 or more")
        require(kl >= 0, f"{name}.kl is {kl}: expected 0 or more")
        self.ticks, self.width, self.hidden, self.kl = ticks, width, hidden, kl

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "P" in known:
            percept = known["P"]
            require(isinstance(percept, tuple) and len(percept) == 1,
                    f"{type(self).__name__} receives states of shape {percept} from level 1: expected vectors (D,)")
        return {"A": self.width}

    def build(self, dims: Dims) -> None:
        (width,) = cast("tuple[int]", dims["S"])
        self.predictor = Predictor(width, self.width, self.hidden)
        self.posterior = mlp(self.ticks * cast(int, dims["L"]), max(self.hidden // 4, 1), 2 * self.width)

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine states (B, K, H, S), `ticks` ticks apart, from states (B, S) and macro-actions (B, K, H, U)."""
        return Prediction(*imagined([self.predictor], state, actions, lambda states: states))

    def goal_of(self, percept: Tensor) -> Tensor:
        return percept

    @callable_method
    def target(self, percept: Tensor, action: Tensor) -> Tensor:
        """Return the states of level 1 at which macro-actions aim, `ticks` ticks ahead: (B, D), (B, U) to (B, D)."""
        raise NotImplementedError

    # Learning --------------------------------------------------------------------------------------------------------

    def _steps_in(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the states of level 1 at the ends of the steps of windows, (N, n + 1, D), without gradient; macro-actions
        (N, n, U) drawn from the posterior, by torch's global generator; and its mean divergence from the prior, a scalar."""
        action = batch["action"]
        steps = action.shape[1] // self.ticks
        require(steps >= 1, f"{type(self).__name__}.ticks is {self.ticks}, and a window has {action.shape[1]} actions: "
                            f"expected as many or more. Fix: source.length={self.ticks} of the stage, or a multiple of it")
        with torch.no_grad():
            states, _ = self.calls.level1.observe(self.percepts_in(batch), preceding(action))
        taken = action[:, :steps * self.ticks].unflatten(1, (steps, self.ticks))
        mean, log_std = self.posterior(taken.flatten(2)).chunk(2, dim=-1)
        log_std = log_std.clamp(*LOG_STD)
        latent = mean + log_std.exp() * torch.randn_like(mean)
        divergence = (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1).mean() / 2
        return states[:, ::self.ticks][:, :steps + 1], latent / REACH, divergence


def relative_error(predicted: Tensor, states: Tensor) -> Tensor:
    """Return the mean squared error of predictions (N, n, D) of later states, in units of the variance of one step's change.

    1 is the error of one step by a prediction that knows the mean change alone.

    Args:
        predicted: of all states but the first.
        states: (N, n + 1, D).
    """
    change = (states[:, 1:] - states[:, :-1]).flatten(0, 1).std(0).clamp(min=SMALLEST_CHANGE).detach()
    return ((predicted - states[:, 1:]) / change).square().mean()
