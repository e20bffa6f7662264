"""Predictors: the dynamics of a `JEPA`, one MLP or several whose disagreement estimates epistemic uncertainty.

Shapes: B parallel worlds, K candidates, H horizon, A action width, D state width, E predictors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Predictor(nn.Module):
    """The next state: the state plus an MLP of state and action.

    Args:
        width: D, the size of a state.
        actions: A, the size of an action.
        hidden: width of the two hidden layers.
        normalise_deltas: whether the MLP's output is multiplied by `step` (D,), the mean absolute one-step change.
    """

    def __init__(self, width: int, actions: int, hidden: int, normalise_deltas: bool = False) -> None:
        super().__init__()
        self.width = width
        self.step: Tensor | None
        self.register_buffer("step", torch.ones(width) if normalise_deltas else None)
        self.first = nn.Linear(width + actions, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, width)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict states (…, D) from states (…, D) and actions (…, A); leading dimensions broadcast."""
        sizes = torch.broadcast_shapes(state.shape[:-1], action.shape[:-1])
        state, action = (part.expand(*sizes, -1).reshape(-1, part.shape[-1]) for part in (state, action))
        return self.step_function()(state, action).view(*sizes, -1)

    def step_function(self, half: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the prediction of one step, with the weights looked up and split once for all steps of a rollout.

        It maps states (n, D) and actions (N, A) to states (N, D), where N / n successive actions share a state. With `half`
        the actions are bfloat16, and so are the products; states stay in their own dtype. Looking the weights up at every
        step takes a fifth of a rollout of 32 candidates on a CPU.
        """
        def cast(part: Tensor) -> Tensor:
            return part.bfloat16() if half else part

        # The first layer in two parts avoids a concatenation, and actions with one state share its part. Operations are
        # in place on tensors created here. Under autocast the products are bfloat16; states add up in their own dtype.
        of_state, of_action = cast(self.first.weight).t().split([self.width, self.first.in_features - self.width])
        bias, step = cast(self.first.bias), self.step
        second, second_bias = cast(self.second.weight).t(), cast(self.second.bias)
        last, last_bias = cast(self.last.weight).t(), cast(self.last.bias)

        def predict(state: Tensor, action: Tensor) -> Tensor:
            hidden = torch.addmm(bias, cast(state), of_state)
            if len(state) == len(action) and hidden.dtype == action.dtype:
                hidden = hidden.addmm_(action, of_action).relu_()
            else:
                share = len(action) // len(state)
                hidden, state = (part[:, None].expand(-1, share, -1).flatten(0, 1) for part in (hidden, state))
                hidden = torch.addmm(hidden, action, of_action).relu_()
            moved = torch.addmm(last_bias, torch.addmm(second_bias, hidden, second).relu_(), last).to(state.dtype)
            return moved.add_(state) if step is None else moved.mul_(step).add_(state)

        return predict


def imagined(predictors: Sequence[Predictor], state: Tensor, actions: Tensor, scaled: Callable[[Tensor], Tensor],
             half: bool = False) -> tuple[Tensor, Tensor | None]:
    """Imagine states (B, K, H, D) and their spread (B, K, H) from states (B, D) and actions (B, K, H, A).

    The next state is the predictors' mean, from which all of them continue; the spread is the root of their mean squared
    distance from it (Pathak and others, *Self-supervised exploration via disagreement*, 2019), None for one predictor.

    Args:
        predictors: E.
        state, actions: where to start, and the plans.
        scaled: applied to every predicted state.
        half: whether the predictors' matrix products are bfloat16.
    """
    steps_of = [one.step_function(half) for one in predictors]
    at, states, spreads = state, [], []
    for action in (actions.bfloat16() if half else actions).flatten(0, 1).unbind(1):
        if len(steps_of) == 1:
            at = scaled(steps_of[0](at, action))
        else:
            guesses = torch.stack([scaled(predict(at, action)) for predict in steps_of], dim=-2)
            mean = guesses.mean(-2)
            at = scaled(mean)
            spreads.append(torch.linalg.vector_norm(guesses - mean[..., None, :], dim=(-2, -1)) / len(steps_of)**0.5)
        states.append(at)
    spread = torch.stack(spreads, dim=1).unflatten(0, actions.shape[:2]) if spreads else None
    return torch.stack(states, dim=1).unflatten(0, actions.shape[:2]), spread
