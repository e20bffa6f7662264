"""RowErrors: torch's own means without weights; weighted means and errors of rows with them, in every shipped learner."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import ami
from ami.blueprint import CriticTerm, RowErrors
from ami.config.compose import to_graph
from ami.module import Module
from ami.ports import shape_of
from ami.runtime.worker import Worker
from modules.cost.critic import Critic
from modules.cost.value import Value


def test_reductions_are_torchs_own_without_weights_and_weighted_with_them() -> None:
    one, other, weight = torch.rand(4, 3), torch.rand(4, 3), torch.tensor([1.0, 0.5, 0.0, 0.25])
    plain, rows = RowErrors({}), RowErrors({"weight": weight})
    assert torch.equal(plain.of(F.mse_loss, one, other), F.mse_loss(one, other)) and plain.figures() == {}
    assert torch.equal(plain.mean(one, 3), one.mean() / 3) and torch.equal(plain.sum(one), one.sum())
    errors = (one - other).square().mean(1)
    torch.testing.assert_close(rows.of(F.mse_loss, one, other), (weight * errors).mean())
    torch.testing.assert_close(rows.mean(one, 3), (weight * one.mean(1)).mean() / 3)
    torch.testing.assert_close(rows.sum(one / 4), (weight * one.sum(1)).mean())
    torch.testing.assert_close(rows.figures()["errors"], errors + one.mean(1) / 3 + one.sum(1))
    across = RowErrors({"weight": weight}, dim=1)
    torch.testing.assert_close(across.mean(one.T), (weight * one.mean(1)).mean())


def world_model(*overrides: str) -> tuple[Module, dict[str, Tensor]]:
    """Return a world model and a batch of 6 windows."""
    graph = to_graph(ami.compose(list(overrides)))
    modules = Worker(graph, graph.order, 0, learning=True).modules
    frames = torch.randint(0, 255, (6, 4, *shape_of(modules["perception"].dims, "O")), dtype=torch.uint8)
    return modules["world_model"], {"observation": frames, "action": torch.rand(6, 3, 2), "reward": torch.rand(6, 3),
                                    "cont": torch.ones(6, 3)}


def cost(critic: CriticTerm) -> tuple[CriticTerm, dict[str, Tensor]]:
    """Return a critic and a batch of 6 hindsight states."""
    critic.build({"S": (5,)})
    state = torch.rand(6, 5)
    return critic, {"state": state, "successors": torch.rand(6, 3, 5), "next": state, "goals": state[None],
                    "pairs": torch.rand(6, 6), "energy": torch.rand(6, 3), "cont": torch.ones(6, 3)}


LEARNERS: dict[str, Callable[[], tuple[Module | CriticTerm, dict[str, Tensor]]]] = {
    "jepa": lambda: world_model("world_model.rewards=true"), "ensemble": lambda: world_model("world_model=ensemble"),
    "pixels": lambda: world_model("world_model=generative"), "factored": lambda: world_model("world_model=factored"),
    "critic": lambda: cost(Critic()), "value": lambda: cost(Value())}


@pytest.mark.parametrize("name", LEARNERS)
def test_shipped_learners_weigh_rows_and_report_their_errors(name: str) -> None:
    module, batch = LEARNERS[name]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module.begin_learning()
        losses: list[Tensor] = []
        for weight in (None, torch.ones(6), torch.full((6,), 0.5)):
            torch.manual_seed(1)
            loss, figures = module.loss(batch if weight is None else {**batch, "weight": weight})
            losses.append(loss)
            assert ("errors" in figures) == (weight is not None)
    errors = figures["errors"]
    assert errors.shape == (6,) and not errors.requires_grad and len(errors.unique()) == 6
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[1] - losses[2], errors.mean() / 2, msg="each row's weight scales its error")
