"""Evaluation of a config's agent: its sealed pairs, its metrics, its processes, and their outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ami.agent import Agent, Runtime
from ami.blueprint import World
from ami.config.compose import Config, to_graph
from ami.errors import require
from ami.evaluation.evaluate import Progress, evaluate, evaluation_ports
from ami.evaluation.manifest import Manifest
from ami.evaluation.metrics import EpisodeRecord, Metric, read_metrics, watched
from ami.evaluation.outcome_log import OutcomeLog
from ami.evaluation.outcomes import Evaluation, Result
from ami.graph.graph import Graph
from ami.graph.prune import prune
from ami.rollout import rollout
from ami.runtime.build import build_module
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime
from ami.session.planning_budget import check_plans
from ami.terminal.console import Console
from ami.trace.levels import recorded_ports
from ami.trace.log import TraceLog

MANIFEST = "manifest.json"


def judged_graph(config: Config) -> Graph:
    """Return the valid graph of a config whose episodes can be evaluated; raises as `run` does."""
    graph = to_graph(config)
    worlds = graph.nodes_of(World)
    require(len(worlds) == 1, f"the graph has {len(worlds)} worlds{': ' * bool(worlds)}{', '.join(worlds)}. Expected one: "
                              "an evaluation begins, ends and judges episodes there")
    check_plans(config, graph)
    return graph


def metrics_of(config: Config, graph: Graph) -> tuple[Metric, ...]:
    """Return the metrics named in `evaluation.metrics`; raises as `ami.evaluation.metrics.read_metrics` does."""
    return read_metrics(list(config.settings.evaluation.get("metrics", [])), graph, config.allow)


def ports_recorded_by(config: Config, graph: Graph) -> frozenset[str]:
    """Return the ports whose messages are recorded in full; raises as `ami.trace.levels.recorded_ports` does."""
    how = config.settings.trace
    return recorded_ports(graph, how.level, list(how.ports))


def seal(config: Config, graph: Graph, console: Console | None = None) -> Manifest:
    """Return the sealed pairs of a config's evaluation; raises the faults of a trial of its world, before any work."""
    world = build_module(graph, graph.the(World), config.settings.seed)
    if isinstance(world, World):
        if config.settings.runtime == "ray":
            world.check_elsewhere()
        for warning in world.warnings():
            (console or Console(quiet=True)).note(f"warning: {warning}")
    how = config.settings.evaluation
    try:
        manifest = Manifest.make(world, how.manifest_seed, how.pairs, how.batch)
    finally:
        if isinstance(world, World):
            world.close()
    manifest.expect(how.manifest_hash)
    return manifest


def try_out(graph: Graph, seed: int, manifest: Manifest, metrics: Sequence[Metric] = ()) -> float:
    """Run two ticks with initial weights and compute each metric on them, so that faults show before learning.

    Returns:
        The duration of the second tick in seconds.
    """
    with Agent(LocalRuntime(graph, seed, watch=watched(metrics))) as agent:
        ticks, done = [], []
        for step in islice(rollout(agent, manifest.episodes()[:1]), 2):
            ticks.append({port: step.outputs[port][0].cpu() for port in watched(metrics)})
            done.append(time.perf_counter())
    record = EpisodeRecord(manifest.pairs[0], False if manifest.reports_success else None, len(ticks) - 1, 0.0,
                           {port: torch.stack([tick[port] for tick in ticks]) for port in watched(metrics)})
    for metric in metrics:
        metric.of(record)
    return done[-1] - done[0]


def firing_graph(config: Config, graph: Graph, watch: Sequence[str]) -> Graph:
    """Return the graph in which the nodes fire that an evaluation runs: without a trace, those that an action or a port of
    `watch` depends on."""
    return prune(graph, watch) if config.settings.prune or not config.settings.trace.record else graph


@contextmanager
def agents(config: Config, graph: Graph, weights: Weights, folder: Path | None,
           watch: Sequence[str] = ()) -> Iterator[list[Agent]]:
    """Start the agents of a config in its runtime; all of their processes end with the block.

    Args:
        folder: the folder of their trace; None records nothing.
        watch: ports to observe besides those that evaluation needs, as "node.port".
    """
    settings = config.settings
    watch, payload = tuple(dict.fromkeys((*evaluation_ports(graph), *watch))), ports_recorded_by(config, graph)
    graph = prune(graph, watch) if folder is None else firing_graph(config, graph, watch)
    traces = [folder / "trace" / f"agent-{i}" if settings.trace.record and folder is not None else None
              for i in range(settings.agents)]
    with ExitStack() as stack:
        started: list[Agent] = []
        if settings.runtime == "ray":
            from ami.runtime.ray_actors import RayRuntime
            from ami.runtime.ray_calls import Recovery
            from ami.runtime.ray_cluster import cluster

            stack.enter_context(cluster(settings.address))
        for trace in traces:
            runtime: Runtime
            if settings.runtime == "ray":
                runtime = RayRuntime(graph, settings.seed, weights, config.plain()["placement"], trace,
                                     payload, watch, Recovery(**config.plain()["recovery"]))
            else:
                recorder = TraceLog(trace, payload) if trace is not None else None
                if recorder is not None:
                    stack.callback(recorder.close)  # also if the agent cannot be built
                runtime = LocalRuntime(graph, settings.seed, weights, recorder, watch)
            started.append(stack.enter_context(Agent(runtime)))
        for agent in started:  # all Ray actors start in parallel
            agent.runtime.ready()
        yield started


def evaluate_agent(config: Config, graph: Graph, weights: Weights, manifest: Manifest, metrics: Sequence[Metric],
                   folder: Path, console: Console, log: OutcomeLog) -> Evaluation:
    """Evaluate the agents of a config in its runtime, with their trace in `folder`; go on after the finished pairs of the
    log."""
    settings, finished = config.settings, log.finished("agent")
    if len(finished) == len(manifest.pairs):
        return Evaluation.of(finished)
    begun = time.perf_counter()
    with agents(config, graph, weights, folder, watched(metrics)) as started:
        where = "in this process" if settings.runtime == "local" else f"as Ray actors, placement {settings.placement}"
        console.note(f"{len(started)} agent{'s' * (len(started) > 1)} of {len(graph.order)} modules {where}, started in "
                     f"{time.perf_counter() - begun:.0f} s")
        with console.counting("evaluate agent", len(manifest.pairs), "pairs") as bar:
            return evaluate(started, manifest, settings.evaluation.batch, _shown(bar, manifest), metrics, log.of("agent"),
                            finished=finished)


def evaluate_local(config: Config, name: str, graph: Graph, weights: Weights, manifest: Manifest,
                   console: Console, metrics: Sequence[Metric] = (),
                   on_end: Callable[[int, Result], None] | None = None,
                   finished: Mapping[int, Result] | None = None) -> Evaluation:
    """Evaluate an agent in this process; `name` labels its progress bar, `on_end` and `finished` are as in `evaluate`."""
    watch = (*evaluation_ports(graph), *watched(metrics))
    with console.counting(f"evaluate {name}", len(manifest.pairs), "pairs") as bar, Agent(
            LocalRuntime(prune(graph, watch), config.settings.seed, weights, watch=watch)) as agent:
        return evaluate([agent], manifest, config.settings.evaluation.batch, _shown(bar, manifest), metrics, on_end,
                        refill=True, finished=finished)


def _shown(bar: Any, manifest: Manifest) -> Any:
    last = Progress(0, 0, 0)

    def on_progress(progress: Progress) -> None:
        nonlocal last
        so_far = (f"{progress.succeeded} of {progress.finished} solved" if manifest.reports_success
                  else f"mean return {progress.total_return / max(progress.finished, 1):.4g}")
        bar(progress.finished - last.finished, so_far)
        last = progress

    return on_progress
