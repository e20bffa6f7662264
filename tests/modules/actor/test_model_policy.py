"""A policy learnt through the world model."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Callee, Calls
from modules.actor.model_policy import ModelPolicy
from modules.cost.goal_distance import GoalDistance
from modules.cost.weighted_sum import WeightedSum
from tests.support.corridors import calling_rooms, rooms


def policy(**given) -> ModelPolicy:
    torch.manual_seed(0)
    made, model = ModelPolicy(**{"hidden": 32, **given}), rooms()
    cost = calling_rooms(WeightedSum({"goal_distance": GoalDistance()}))
    cost.set_up({"S": (3,), "Q": (3,), "W": 1})
    made.calls = Calls("actor", {"world_model": Callee("world_model", model), "cost": Callee("cost", cost)})
    made.set_up({"S": (3,), "Q": (3,), "A": 2, "U": 2, "H": 4})
    return made


def batch(rows: int = 64) -> dict[str, torch.Tensor]:
    state, goal = torch.rand(rows, 3), torch.rand(rows, 3)
    state[:, 1:], goal[:, 1:] = state[:, 1:] * 6 - 3, goal[:, 1:] * 6 - 3
    return {"state": state, "goal": goal}


def arrives(made: ModelPolicy) -> float:
    """The mean share of the way to random goals that ten actions of the policy cover."""
    torch.manual_seed(3)
    given = batch(200)
    state, model = given["state"], rooms()
    before = model.distance(state, given["goal"]).mean()
    with torch.no_grad():
        for _ in range(10):
            state = model.imagine(state, made.propose(state, given["goal"])[:, None, None]).states[:, 0, 0]
    return 1 - float(model.distance(state, given["goal"]).mean() / before)


def test_learning_through_the_model_reaches_goals_and_an_untrained_policy_does_not():
    made = policy()
    assert arrives(made) < 0.3
    optimiser = torch.optim.Adam(made.parameters(), lr=3e-3)
    for _ in range(200):
        loss, _ = made.loss(batch())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert arrives(made) > 0.8


def test_a_horizon_below_one_is_refused():
    with pytest.raises(SettingError, match=r"^ModelPolicy\.horizon is 0: expected 1 or more steps$"):
        policy(horizon=0)
