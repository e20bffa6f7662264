"""Baselines of a run: which of them can act in this world, and the weights that they share with the agent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ami.blueprint import Cost, Perception, World, WorldModel
from ami.config.compose import Config, compose_baseline, to_graph
from ami.errors import CallError, GraphError, PortError, SettingError, first_reason, require
from ami.evaluation.manifest import Manifest
from ami.evaluation.metrics import Metric, fitting
from ami.evaluation.outcome_log import OutcomeLog
from ami.evaluation.outcomes import Evaluation, Result
from ami.graph.graph import Graph
from ami.learning.threads import torch_threads
from ami.runtime.build import build_module
from ami.runtime.held_modules import Weights
from ami.session.evaluation import evaluate_local, metrics_of, try_out
from ami.terminal.console import Console

UNTRAINED = "untrained"


def baselines(config: Config, graph: Graph, manifest: Manifest, console: Console) -> dict[str, Graph]:
    """Return the graphs of the baselines that can act in this world with the agent's weights; warn of the others.

    A baseline is left out, for example, if the oracle has no true dynamics of the world, if the agent's planner needs
    gradients that the baseline's model does not have, or if a network of the baseline would be untrained.

    Raises:
        UnknownName, TrustError: a baseline does not exist or is not allowed.
    """
    found: dict[str, Graph] = {}
    left_out: dict[str, list[str]] = {}
    for name in map(str, config.settings.evaluation.baselines):
        try:
            found[name] = graph if name == UNTRAINED else to_graph(compose_baseline(config, name))
            if name != UNTRAINED:
                _check_trained(config, found[name], graph)
                try_out(found[name], config.settings.seed, manifest)
        except (GraphError, SettingError, PortError, CallError) as error:
            found.pop(name, None)
            left_out.setdefault(first_reason(str(error)), []).append(name)
    if left_out:
        reasons = "; ".join(f"{' and '.join(names)}: {reason.rstrip('.')}" for reason, names in left_out.items())
        some = [name for name in config.settings.evaluation.baselines if name in found]
        console.note(f"warning: left out of the baselines, {reasons}. Fix to silence this: "
                     f"evaluation.baselines=[{','.join(some)}]")
    return found


@contextmanager
def evaluating(found: Mapping[str, Graph], config: Config, graph: Graph, weights: Weights, manifest: Manifest,
               metrics: Sequence[Metric], log: OutcomeLog) -> Iterator[Callable[[Console], dict[str, Evaluation]]]:
    """Evaluate the baselines on the agent's pairs: with the Ray runtime in another process, while the block evaluates the
    agent; else when they are asked for.

    Args:
        found: the baselines' graphs, by name.
        config: the run's config.
        graph: the agent's graph.
        weights: the agent's trained weights; a baseline uses those of the modules that both have.
        manifest: the sealed pairs.
        metrics: the agent's metrics; a baseline has those whose ports it has.
        log: receives each result; its finished pairs are not run again.

    Yields:
        A function that waits for the baselines and returns their evaluations, by name. It takes the console, for progress.
    """
    own = {name: {} if name == UNTRAINED else shared_weights(weights, baseline, graph) for name, baseline in found.items()}

    def here(console: Console) -> dict[str, Evaluation]:
        return {name: evaluate_local(config, name, baseline, own[name], manifest, console, fitting(metrics, baseline),
                                     log.of(name), log.finished(name)) for name, baseline in found.items()}

    if config.settings.runtime != "ray" or not found or (os.cpu_count() or 1) == 1:
        yield here
        return
    from ami.runtime.ray_tasks import Task, in_background

    tasks = [Task(name, evaluate_apart, (config, name, own[name], manifest, log.finished(name))) for name in found]
    with in_background(tasks, config.settings.address) as result_of:
        def waited(console: Console) -> dict[str, Evaluation]:
            evaluations: dict[str, Evaluation] = {}
            with console.counting("evaluate baselines", len(found) * len(manifest.pairs), "pairs") as bar:
                for name in found:
                    results: dict[int, Result] = result_of(name)
                    for number, result in results.items():
                        log.of(name)(number, result)
                    evaluations[name] = Evaluation.of({**log.finished(name), **results})
                    bar(len(manifest.pairs), name)
            return evaluations

        yield waited


def evaluate_apart(config: Config, name: str, weights: Weights, manifest: Manifest,
                   finished: Mapping[int, Result]) -> dict[int, Result]:
    """Return the results of a baseline's pairs that are not finished, evaluated in a process of its own."""
    results: dict[int, Result] = {}
    with torch_threads(config.settings.learning.threads):
        graph = to_graph(config)
        baseline = graph if name == UNTRAINED else to_graph(compose_baseline(config, name))
        metrics = fitting(metrics_of(config, graph), baseline)
        evaluate_local(config, name, baseline, weights, manifest, Console(quiet=True), metrics, results.__setitem__,
                       finished)
    return results


def shared_weights(weights: Weights, baseline: Graph, graph: Graph) -> Weights:
    """Return the agent's weights that a baseline uses: those of the modules that both have."""
    same = baseline.equal_nodes(graph) if _runs_trained(baseline, graph) else set()
    return {node: state for node, state in weights.items() if node in same}


def _check_trained(config: Config, baseline: Graph, graph: Graph) -> None:
    """Refuse a baseline with a network that differs from the agent's, if the agent's networks are trained."""
    if config.settings.checkpoint is None and not any(config.settings.learning.stages.values()):
        return
    other = sorted(set(baseline.order) - baseline.equal_nodes(graph) - set(baseline.nodes_of(World)))
    untrained = [node for node in other if list(build_module(baseline, node, config.settings.seed).parameters())]
    require(not untrained,
            f"its {' and '.join(untrained)} would run untrained, with other settings or sizes than the agent's")


def _runs_trained(baseline: Graph, graph: Graph) -> bool:
    """Return whether a baseline keeps the agent's modules; it then uses their weights, so only its named change differs."""
    learnt = [node for role in (Perception, WorldModel, Cost) for node in baseline.nodes_of(role)]
    return all(baseline.specs[node] == graph.specs[node] for node in learnt if node in graph.order)
