"""The remembered states as a goal, and their way from memory to the planner."""

import pytest
import torch

from ami.config.compose import compose, to_graph
from ami.testing import check_goal
from modules.goal.recall import RecallGoal


@pytest.mark.parametrize("dims", [{}, {"S": (2, 3)}])
def test_contract(dims):
    check_goal(RecallGoal, dims=dims)


def test_remembered_states_are_last():
    recall = torch.arange(12.0).view(1, 3, 4)
    goal = RecallGoal().step(torch.zeros(1, 0), recall)["goal"]
    assert goal.shape == (1, 4, 3) and torch.equal(goal[..., 1], recall[:, 1])


@pytest.mark.parametrize(("memory", "count"), [("episodic", 4), ("short_term", 4), ("none", 1)])
def test_the_planner_avoids_this_ticks_states_and_the_memory_keeps_this_ticks_energy(memory, count):
    graph = to_graph(compose(["experiment=novelty", f"memory={memory}"]))
    assert graph.warnings == [] and "nearest" in graph.outputs["memory"]
    order = graph.order
    assert order.index("cost") < order.index("memory") < order.index("goal") < order.index("planner")
    assert graph.dims["planner"]["Q"] == graph.dims["cost"]["Q"] == (64, count)
    assert "nearest" not in to_graph(compose([f"memory={memory}"])).outputs["memory"]
