"""The recalled state as a goal: the present state while nothing is remembered."""

import pytest
import torch

from ami.config.compose import compose, to_graph
from ami.testing.module import check_module
from modules.goal.recall import RecallGoal


@pytest.mark.parametrize("dims", [{}, {"S": (2, 3)}])
def test_contract(dims):
    check_module(RecallGoal, dims=dims)


def test_goal_is_the_recalled_state_or_the_present_one_if_the_memory_is_empty():
    recall, state = torch.zeros(2, 1, 3), torch.ones(2, 1, 3)
    goal = RecallGoal().step(torch.zeros(2, 0), recall, torch.tensor([0.0, 0.1]), state)["goal"]
    assert goal[:, 0, 0].tolist() == [1, 0]


def test_in_the_experiment_the_planner_avoids_this_ticks_recall_and_the_memory_keeps_this_ticks_energy():
    graph = to_graph(compose(["experiment=novelty"]))
    assert graph.warnings == []
    order = graph.order
    assert order.index("cost") < order.index("memory") < order.index("goal") < order.index("planner")
