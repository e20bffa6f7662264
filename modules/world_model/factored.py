"""Factored: a JEPA whose state has a static part and a moving part.

A JEPA prefers slow features, because they are easy to predict. Features that are constant within an episode, such as the
position of a door, are the slowest and would displace the moving ones. Here they have a separate part of the state.

Shapes: B parallel worlds, K candidates, H horizon, A action width; a state (D,) is the static part (C,) followed by the
moving part (M,); N windows of T actions, T + 1 states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Prediction, RowErrors
from ami.errors import require
from ami.module import Batch, callable_method
from ami.ports import Dims, Size
from modules.nets import mlp
from modules.world_model.anti_collapse import Penalties, covariance, smoothness, variance_hinge
from modules.world_model.markov import MarkovWorldModel


class MovingPredictor(nn.Module):
    """The next moving part: the moving part plus an MLP of both parts and the action.

    Args:
        static: C, the size of the static part.
        moving: M, the size of the moving part.
        actions: A, the size of an action.
        hidden: width of the two hidden layers.
    """

    def __init__(self, static: int, moving: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.of_static = nn.Linear(static, hidden)
        self.of_moving = nn.Linear(moving, hidden, bias=False)
        self.of_action = nn.Linear(actions, hidden, bias=False)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, moving)

    def forward(self, surroundings: Tensor, moving: Tensor, action: Tensor) -> Tensor:
        """Predict moving parts (…, M) from the output of `of_static` (…, hidden), moving parts (…, M), actions (…, A)."""
        return self.step_function()(surroundings, moving, action)

    def step_function(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return `forward` with its weights looked up once, for the steps of one rollout."""
        of_action, of_moving, linear = self.of_action.weight, self.of_moving.weight, F.linear
        second, second_bias, last, last_bias = self.second.weight, self.second.bias, self.last.weight, self.last.bias

        def predict(surroundings: Tensor, moving: Tensor, action: Tensor) -> Tensor:
            hidden = linear(action, of_action).add_(linear(moving, of_moving)).add_(surroundings).relu_()
            return linear(linear(hidden, second, second_bias).relu_(), last, last_bias).add_(moving)

        return predict


class Factored(MarkovWorldModel):
    """A JEPA with a static and a moving part of the state.

    The static part is regularised to be constant within a window and to vary between windows. The moving part is regularised
    to vary *within* windows, and is predicted from both parts. Their cross-covariance is penalised. All terms are those of
    VICReg (Bardes, Ponce, LeCun, ICLR 2022). The distance compares moving parts; a rollout copies the static part;
    `rebase_goal` rebases a goal to another static part, so that a critic can compare states and goals of different episodes.

    Static and moving features can be distinguished only if a window covers much of the world. Windows are therefore long,
    but only their first steps are imagined; of the rest every `stride`-th observation is used.

    Args:
        static: C, number of the percept's dimensions in the static part.
        hidden: width of the predictor's two hidden layers.
        horizon: maximal number of imagined steps of a window.
        stride: steps between the later observations.
        spread: target standard deviation of each moving dimension within a window.
        std: weight of the variance hinges of both parts.
        covariance: weight of the mean squared covariance of two different dimensions of one part.
        smoothness: weight of the mean squared step of the moving part.
        idm: weight of inverse dynamics: the action is predicted from two successive moving parts.
        invariance: weight of the static part's mean squared deviation within a window.
        cross: weight of the mean squared covariance of a static with a moving dimension.
        rebase_goals: whether `rebase_goal` replaces the static part; if not, a critic also learns from unreachable goals.

    Raises:
        SettingError: a setting is out of its range; or, when the graph is built, a percept is no vector longer than C.
    """

    def __init__(self, static: int = 8, hidden: int = 256, horizon: int = 5, stride: int = 15, spread: float = 0.7,
                 std: float = 16.0, covariance: float = 1.0, smoothness: float = 12.0, idm: float = 2.0,
                 invariance: float = 16.0, cross: float = 40.0, rebase_goals: bool = True) -> None:
        super().__init__()
        require(hidden >= 2, f"Factored.hidden is {hidden}: expected 2 or more")
        for name, count in (("static", static), ("horizon", horizon), ("stride", stride)):
            require(count >= 1, f"Factored.{name} is {count}: expected 1 or more")
        require(spread > 0, f"Factored.spread is {spread}: expected more than 0")
        self.static, self.hidden, self.horizon, self.stride, self.spread = static, hidden, horizon, stride, spread
        self.rebase_goals = rebase_goals
        self.weights = {"std": std, "covariance": covariance, "smoothness": smoothness, "idm": idm,
                        "invariance": invariance, "cross": cross}
        for name, weight in self.weights.items():
            require(weight >= 0, f"Factored.{name} is {weight}: expected 0 or more")

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "P" not in known:
            return {}
        percept = known["P"]
        require(isinstance(percept, tuple) and len(percept) == 1 and percept[0] > self.static,
                f"Factored receives percepts of shape {percept}: expected vectors (D,), D more than static, {self.static}. "
                "Fix: perception=conv, or a smaller world_model.static")
        return {"S": percept}

    def build(self, dims: Dims) -> None:
        (width,), actions = cast("tuple[int]", dims["S"]), cast(int, dims["A"])
        moving = width - self.static
        self.predictor = MovingPredictor(self.static, moving, actions, self.hidden)
        self.inverse = mlp(2 * moving, self.hidden // 2, self.hidden // 2, actions)

    def state_of(self, percept: Tensor) -> Tensor:
        """The percept is the state: (…, D) to (…, D)."""
        return percept

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine states (B, K, H, D) from states (B, D) and actions (B, K, H, A); rounding may depend on B and K."""
        static, moving = self._parts(state[:, None])
        # the static part's share of the first layer is the same for all candidates and steps
        predict, surroundings, steps = self.predictor.step_function(), self.predictor.of_static(static), []
        for action in actions.unbind(2):
            moving = predict(surroundings, moving, action)
            steps.append(moving)
        path = torch.stack(steps, dim=2)
        return Prediction(torch.cat([static[:, :, None].expand(*path.shape[:3], -1), path], dim=-1))

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the Euclidean distance of moving parts: (…, D), (…, D) to (…)."""
        norm: Tensor = torch.linalg.vector_norm(states[..., self.static:] - goal[..., self.static:], dim=-1)
        return norm

    @callable_method
    def rebase_goal(self, goal: Tensor, state: Tensor) -> Tensor:
        """Rebase goals: the goal's moving part with the state's static part; (…, D), (…, D) to (…, D), broadcast."""
        if not self.rebase_goals:
            return goal
        goal, state = torch.broadcast_tensors(goal, state)
        return torch.cat([state[..., :self.static], goal[..., self.static:]], dim=-1)

    def _parts(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Split states (…, D) into static parts (…, C) and moving parts (…, M)."""
        return states[..., :self.static], states[..., self.static:]

    # Learning --------------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error of moving parts imagined from the first state, plus the regularisers.

        Args:
            batch: "observation" (N, T + 1, *O) or, from a frozen perception, "percept" (N, T + 1, *P); "action" (N, T, A).

        Returns:
            The loss, and unweighted figures: `prediction`, each other term, `std` (mean standard deviation of a state's
            dimensions over the batch: near 0 the states have collapsed). The rows' importance weights apply to
            `prediction`, a row's error.
        """
        action = batch["action"][:, :self.horizon]
        last = action.shape[1]
        chosen = [*range(last + 1), *range(last + self.stride, batch["action"].shape[1] + 1, self.stride)]
        states = self.state_of(self.percepts_in(batch, chosen))
        imagined = self.imagine(states[:, 0], action[:, None]).states[:, 0]
        static, moving = self._parts(states)
        path, rows = moving[:, :last + 1], RowErrors(batch)
        terms = {
            "prediction": (1.0, rows.of(F.mse_loss, self._parts(imagined)[1], path[:, 1:])),
            "idm": (self.weights["idm"], F.mse_loss(self.inverse(torch.cat([path[:, :-1], path[:, 1:]], dim=-1)), action)),
            "smoothness": (self.weights["smoothness"], smoothness(path)),
            **self._moving_terms(torch.cat([moving[:, :1], moving[:, last:]], dim=1)),
            **self._static_terms(static),
            "cross": (self.weights["cross"], _cross_covariance(static.flatten(0, 1), moving.flatten(0, 1))),
        }
        total = sum((weight * value for weight, value in terms.values()), states.new_zeros(()))
        figures = {name: value.detach() for name, (_, value) in terms.items()}
        figures["std"] = states.detach().flatten(0, 1).std(0).mean()
        return total, {**figures, **rows.figures()}

    def _moving_terms(self, moving: Tensor) -> Penalties:
        """Return the within-window variance and covariance terms of moving parts (N, L, M), far apart in time."""
        unbiased = (moving.shape[1] / (moving.shape[1] - 1)) ** 0.5
        within = ((moving - moving.mean(1, keepdim=True)) * (unbiased / self.spread)).flatten(0, 1)
        return {"variance": (self.weights["std"], variance_hinge(within)),
                "covariance": (self.weights["covariance"], covariance(within))}

    def _static_terms(self, static: Tensor) -> Penalties:
        """Return terms that make static parts (N, L, C) vary between windows, and constant within one."""
        window = static.mean(1)
        centred = window - window.mean(0)
        return {"static_variance": (self.weights["std"], variance_hinge(centred)),
                "static_covariance": (self.weights["covariance"], covariance(centred)),
                "invariance": (self.weights["invariance"], (static - window[:, None]).square().mean())}


def _cross_covariance(static: Tensor, moving: Tensor) -> Tensor:
    """Return the mean squared covariance of a static with a moving dimension: (rows, C), (rows, M) to a scalar."""
    matrix = (static - static.mean(0)).T @ (moving - moving.mean(0)) / (len(static) - 1)
    return matrix.square().mean()
