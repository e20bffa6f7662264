"""A prediction of states: the answer of a world model, evaluated by a cost."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """Predicted states, or perceived ones when the cost evaluates the current state.

    The leading sizes (…) are (B, K, H) for imagined plans and (B,) for perceived states. Unknown fields are None, never 0.

    Attributes:
        states: (…, *S).
        spread: (…), the model's own uncertainty.
        reward: (…), the world's reward on arriving at each state.
        cont: (…), the probability that the episode continues after each state.
        body: (…, Y), what the agent feels of its body at a perceived state.
    """

    states: Tensor
    spread: Tensor | None = None
    reward: Tensor | None = None
    cont: Tensor | None = None
    body: Tensor | None = None
