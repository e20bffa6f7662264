"""Experts: agents that run during learning, whose plans a policy imitates or whose messages a module learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ami.agent import Agent
from ami.config.compose import is_learner
from ami.graph.graph import Graph
from ami.graph.prune import prune
from ami.learning.sources.source import Expert
from ami.rng import derive_seed
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime
from ami.session.plan import TrainingPlan


def experts_of(plan: TrainingPlan) -> dict[str, Expert]:
    """Return functions that build the plan's expert agents, by name."""
    return {name: _expert(name, graph, plan.graph, plan.config.settings.seed) for name, graph in plan.experts.items()}


def _expert(name: str, graph: Graph, learner: Graph, seed: int) -> Expert:
    """Return a function that builds an expert agent with the learner's weights, in modules equal to the learner's; in all
    modules of the learner's classes if it is the learner with overrides."""
    shared = graph.nodes_of_equal_class(learner) if is_learner(name) else graph.equal_nodes(learner)

    def build(weights: Weights, ports: Callable[[Graph], Iterable[str]]) -> Agent:
        watch = tuple(ports(graph))
        return Agent(LocalRuntime(prune(graph, watch), derive_seed(seed, "plans"),
                                  {node: weights[node] for node in shared & set(weights)}, watch=watch))

    return build
