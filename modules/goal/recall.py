"""The state that memory recalls, for novelty-seeking agents.

Shapes: B parallel worlds, S the size of a state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Goal
from ami.ports import Port


class RecallGoal(Goal):
    """The remembered state nearest to the present one, which cost=novelty avoids; it keeps nothing itself.

    While the memory is empty (score 0) there is nothing to recall, and the present state takes its place.
    """

    inputs = {**Goal.inputs, "recall": Port("recall", ("*S",)), "score": Port("score"), "state": Port("state", ("*S",))}

    def step(self, observation: Tensor, recall: Tensor, score: Tensor, state: Tensor,
             mode: Tensor | None = None) -> dict[str, Tensor]:
        return {"goal": torch.where((score > 0).view(-1, *[1] * (state.ndim - 1)), recall, state)}
