"""A loss that is not finite is reported with stage, step, node and the probable cause."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ami.learning.divergence import not_finite
from ami.module import Module
from tests.support.stages import stage

NAN = torch.tensor(float("nan"))


class Learner(Module):
    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([weight]))


def message(step: int = 7, weight: float = 1.0, source: str = "windows", clip: float = 0.0, **batch: Tensor) -> str:
    return str(not_finite(stage(steps=9, source=source, clip=clip), step, NAN, batch, {"world_model": Learner(weight)}))


START = "the loss of learning.stages.model (world_model, Learner) is nan at step 7"


@pytest.mark.parametrize(("text", "expected"), [
    (message(observation=torch.tensor([1.0, float("inf"), float("nan")]), action=torch.zeros(3)),
     f"{START}: its batch holds observation (2 of 3 numbers) that are not finite; the world sent it. Fix: correct the "
     "world, or cut such values off in a wrapper, world.wrappers=[package.file.Class]"),
    (message(source="hindsight_states", state=NAN[None]),
     f"{START}: its batch holds state (1 of 1 numbers) that are not finite; perception and world model computed it. Fix: "
     "correct the module that computes it, or let it learn with a smaller learning_rate"),
    (message(weight=float("nan"), observation=torch.zeros(3)),
     f"{START}: the weights world_model.weight are not finite since the previous step, with finite data. Fix: "
     "learning.stages.model.learning_rate below 0.001, or learning.stages.model.clip above 0"),
    (message(clip=2.0, observation=torch.zeros(3)),
     f"{START}: its data and all weights are finite, so the loss overflows. Fix: learning.stages.model.learning_rate below "
     "0.001"),
    (message(step=0, observation=torch.zeros(3)),
     f"{START[:-1]}0, with finite data and initial weights. Fix: correct Learner.loss(), which divides by zero, overflows, "
     "or takes the logarithm of 0"),
])
def test_the_probable_cause_of_a_loss_that_is_not_finite(text: str, expected: str) -> None:
    assert text == expected
