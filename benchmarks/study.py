"""Shared by studies that evaluate one trained agent under several configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import ami
from ami.agent import Agent
from ami.config.compose import to_graph
from ami.evaluation.evaluate import evaluate, evaluation_ports
from ami.evaluation.manifest import Manifest
from ami.evaluation.outcomes import Evaluation
from ami.evaluation.statistics import wilson
from ami.graph.graph import Graph
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime
from ami.runtime.recorder import Recorder
from ami.runtime.worker import Worker
from ami.saved.agent_file import Trained
from ami.session import learn as learning
from ami.session.evaluation import seal

SEED = 20261125
"""The seed of the manifest."""


def manifest_of(pairs: int, *overrides: str) -> Manifest:
    """Return sealed pairs, `pairs` of each kind."""
    config = ami.compose([f"evaluation.pairs={pairs}", f"evaluation.manifest_seed={SEED}", *overrides])
    return seal(config, to_graph(config))


def of_kind(manifest: Manifest, kinds: Sequence[str]) -> Manifest:
    """Return the manifest restricted to some kinds."""
    return Manifest(manifest.world, manifest.settings, manifest.seed,
                    tuple(pair for pair in manifest.pairs if pair["kind"] in kinds))


def learn(overrides: Sequence[str], seed: int, store: Path) -> Trained:
    """Train an agent, or load it from the store."""
    return learning.learn(ami.compose([*overrides, f"seed={seed}", "runtime=local", f"store={store}"]))


def evaluate_agent(overrides: Sequence[str], weights: Weights, manifest: Manifest, seed: int, batch: int = 50,
                   recorder: Recorder | None = None) -> Evaluation:
    """Evaluate an agent on all pairs of a manifest, with the fitting subset of the weights."""
    graph = to_graph(ami.compose([*overrides, f"seed={seed}", "runtime=local"]))
    with Agent(LocalRuntime(graph, seed, fitting(graph, weights, seed), recorder,
                            watch=evaluation_ports(graph))) as agent:
        return evaluate([agent], manifest, batch)


def fitting(graph: Graph, weights: Weights, seed: int) -> Weights:
    """Return the weights that fit a graph's modules; a module with missing weights keeps its initial ones."""
    places = {node: module.state_dict() for node, module in Worker(graph, graph.order, seed).modules.items()}
    return {node: {name: state[name] for name in places[node]} for node, state in weights.items()
            if places.get(node) and set(places[node]) <= set(state)}


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Return success by kind, and the planning cost."""
    kinds = {kind: {name: row[name] for name in ("n", "success", "mean_steps")} for kind, row in evaluation.kinds().items()}
    return kinds | {
        "decisions": evaluation.decisions, "plans": evaluation.plans, "model_steps": evaluation.model_steps}


def pooled(runs: Sequence[Mapping[str, Any]], kind: str) -> str:
    """`99.3 % [98.3, 99.7], worst seed 99.0 %`: the pairs of all seeds together."""
    rates, n = [run[kind]["success"] for run in runs], sum(run[kind]["n"] for run in runs)
    low, high = wilson(round(sum(run[kind]["success"] * run[kind]["n"] for run in runs)), n)
    return f"{100 * mean(rates):.1f} % [{100 * low:.1f}, {100 * high:.1f}], worst {100 * min(rates):.1f} %"
