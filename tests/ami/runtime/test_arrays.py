"""Arrays: every dtype of a message crosses, bit for bit; bfloat16, which numpy lacks, too."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor

from ami.graph.partition import cut
from ami.graph.spec import ModuleSpec
from ami.module import Episode
from ami.ports import DTYPES, Port
from ami.runtime.arrays import to_array, to_tensor
from ami.runtime.ray_worker import WorkerActor
from tests.ami.toys import Hand, graph


class Brief(Hand):
    """A hand that also sends a bfloat16."""

    outputs = {**Hand.outputs, "half": Port("score", (), torch.bfloat16)}

    def step(self, plan: Tensor) -> dict[str, Tensor]:
        return {**super().step(plan), "half": torch.tensor([1.5, torch.pi]).bfloat16()}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
@pytest.mark.parametrize("copy", [False, True])
def test_every_dtype_comes_back(dtype: torch.dtype, copy: bool) -> None:
    sent = torch.tensor([[0, 1, 3], [2, 5, 7]]).to(dtype).T
    found = to_tensor(pickle.loads(pickle.dumps(to_array(sent))), copy)
    assert found.dtype is dtype and torch.equal(found.float(), sent.float())


def test_an_actor_sends_bfloat16() -> None:
    of = graph({"hand": ModuleSpec(Brief)})
    segments = cut(of, "agent", ["hand.half"])
    actor = WorkerActor()
    actor.make(of, of.order, segments, 0, None, None, ())
    actor.begin(torch.ones(2, dtype=torch.bool).numpy(), [Episode(n, n) for n in range(2)], 0)
    watched = actor.fire(segments[0].index, 0)[1]
    assert torch.equal(to_tensor(watched["hand.half"]), torch.tensor([1.5, torch.pi]).bfloat16())
