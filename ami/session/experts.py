"""Experts: the agents whose plans a policy imitates during learning."""

from __future__ import annotations

from ami.agent import Agent
from ami.graph.graph import Graph
from ami.graph.prune import prune
from ami.learning.sources.expert_plans import planned_ports
from ami.learning.sources.source import Expert
from ami.rng import derive_seed
from ami.runtime.local import LocalRuntime
from ami.session.plan import TrainingPlan


def experts_of(plan: TrainingPlan) -> dict[str, Expert]:
    """Return functions that build the plan's expert agents, by name."""
    return {name: _expert(graph, plan.graph, plan.config.settings.seed) for name, graph in plan.experts.items()}


def _expert(graph: Graph, learner: Graph, seed: int) -> Expert:
    """Return a function that builds an expert agent; modules equal to the learner's use the learner's weights."""
    shared = graph.equal_nodes(learner)
    watch = tuple(planned_ports(graph).values())
    return lambda weights: Agent(LocalRuntime(prune(graph, watch), derive_seed(seed, "plans"),
                                              {node: weights[node] for node in shared & set(weights)}, watch=watch))
