"""`ami run`: train the agent (or load it from the store), evaluate it and its baselines, write everything to one folder.

    run folder
    ├── summary.json      every figure of the table, and more
    ├── manifest.json     the sealed pairs
    ├── header.json       config, graph, versions, hashes
    ├── trace/agent-0/    the record of every cycle
    ├── agent.safetensors the agent: weights and configuration, for `ami.load`, `ami export` and `checkpoint=`
    ├── best.safetensors  the agent with the best validation score
    ├── outcomes.jsonl    the outcome of each pair, written when its episode ends
    ├── learning.jsonl    the learning curves, written during learning
    ├── results.png, learning.png, episodes.gif, episodes.mp4
    └── mlflow.json       the id of this run in the store's mlflow.db
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ami.agent import Agent, Runtime
from ami.blueprint import World
from ami.config.compose import Config, compose_baseline, to_graph
from ami.errors import CallError, GraphError, PortError, SettingError, TraceError, first_reason, require, suggestion
from ami.evaluation.evaluate import Evaluation, Outcome, Progress, evaluate, planning_ports
from ami.evaluation.manifest import Manifest
from ami.evaluation.metrics import EpisodeRecord, Metric, fitting, read_metrics, watched
from ami.evaluation.outcome_log import OutcomeLog
from ami.evaluation.plots import plot_learning
from ami.evaluation.sheet import Sheet
from ami.evaluation.table import results_table, summary
from ami.graph.graph import Graph
from ami.graph.partition import groups_of
from ami.learning.learning_log import LearningLog, read_rows
from ami.learning.threads import torch_threads
from ami.runtime.local import LocalRuntime
from ami.runtime.worker import Weights, build_module
from ami.saved.agent_file import AGENT_FILE, Trained, open_trained, save
from ami.session import train as training
from ami.session.monitor import Monitor
from ami.session.planning_budget import check_duration, check_plans
from ami.session.presentation import Presentation, film_formats, present, store
from ami.storage.files import check_folder, private_files, write_json
from ami.storage.store import find
from ami.terminal.best_effort import best_effort
from ami.terminal.console import Console
from ami.trace.header import NAME as HEADER
from ami.trace.header import write_header
from ami.trace.levels import recorded_ports
from ami.trace.log import TraceLog
from ami.trace.provenance import origin, run_code
from ami.trace.reader import Trace
from ami.tracking.mlflow_database import check_database

RUNTIMES = ("local", "ray")
UNTRAINED, WORLD = "untrained", "world"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: the run's folder.
        summary: every figure, as in summary.json.
        evaluations: the outcome of each pair, by agent and baseline.
        trained: the evaluated agent.
    """

    folder: Path
    summary: dict[str, Any]
    evaluations: dict[str, Evaluation]
    trained: Trained

    def table(self) -> Sheet:
        """Return the table that `ami run` prints."""
        return results_table(self.summary)

    def trace(self) -> Trace:
        """Open the trace of every cycle."""
        return Trace.open(self.folder)


def build(config: Config) -> Agent:
    """Build the agent of a config in this process, ready for `reset` and `cycle`.

    The weights are those of `checkpoint`, or initial weights if it is null.
    """
    graph, settings = to_graph(config), config.settings
    weights = open_trained(find(settings.checkpoint, settings.store), graph).weights if settings.checkpoint else {}
    return Agent(LocalRuntime(graph, settings.seed, weights, watch=planning_ports(graph)))


def run(config: Config, folder: Path | None = None, console: Console | None = None) -> Run:
    """Train the agent, evaluate it and its baselines, and record the evaluation.

    Args:
        config: from `ami.compose`.
        folder: the run's folder; by default a new one in `store`, named by date and time.
        console: prints progress; by default nothing is printed.

    Raises:
        GraphError, SettingError, UnknownName: the config is invalid; raised before any work.
    """
    console = console or Console(quiet=True)
    settings = config.settings
    require(settings.runtime in RUNTIMES, f"runtime is '{settings.runtime}'{suggestion(str(settings.runtime), RUNTIMES)}")
    require(settings.agents >= 1, f"agents is {settings.agents}: expected 1 or more")
    graph = judged_graph(config)
    groups_of(graph, config.plain()["placement"])
    if settings.runtime == "ray":
        from ami.runtime.ray_cluster import check_start

        check_start(settings.address)
    _recorded_ports(config, graph)
    film_formats(config)
    folder = _new_folder(config, folder)
    for warning in [*graph.warnings, *_without_effect(config)]:
        console.note(f"warning: {warning}")
    for remark in [*graph.remarks, *config.remarks()]:
        console.note(remark)
    with private_files(), torch_threads(settings.learning.threads):
        return _run(config, graph, folder, console)


def _run(config: Config, graph: Graph, folder: Path, console: Console) -> Run:
    settings = config.settings
    metrics = metrics_of(config, graph)
    manifest = seal(config, graph, console)
    late = check_duration(config, graph, manifest, try_out(graph, settings.seed, manifest, metrics))
    if late is not None:
        console.note(f"warning: {late}")
    beside = baselines(config, graph, manifest, console)
    trained = _learnt(config, graph, folder, console)
    manifest.save(folder / MANIFEST)  # not earlier: a refused config leaves no folder
    _describe(config, graph, trained, folder)
    with OutcomeLog(folder, lambda text: console.note(f"warning: {text}")) as log:
        evaluations = {"agent": _evaluate_agent(config, graph, trained.weights, manifest, metrics, folder, console, log)}
        for name, baseline in beside.items():
            weights = {} if name == UNTRAINED else _shared(trained.weights, baseline, graph)
            evaluations[name] = evaluate_local(config, name, baseline, weights, manifest, console,
                                               fitting(metrics, baseline), log.of(name))
    digest = _digest(folder, console) if settings.trace.record else None
    figures = summary(evaluations, manifest_hash=manifest.hash, seed=settings.seed, learning_seconds=trained.seconds,
                      trace_digest=digest)
    figures["details"] |= {"probes": trained.probes, "learning_was_cached": trained.cached,
                           "checkpoint": None if trained.file is None else str(trained.file)}
    done = Run(folder, figures, evaluations, trained)
    console.table(done.table())  # before writing: if the disk is full, the figures are at least printed
    write_json(folder / "summary.json", figures)
    present(Presentation(folder, config, graph, manifest, figures, trained, console.note), console)
    return done


def _digest(folder: Path, console: Console) -> str | None:
    """Return the digest of the trace; None, with a warning, if the trace is incomplete (the figures do not need it)."""
    try:
        trace = Trace.open(folder)
    except TraceError as error:
        console.note(f"warning: {error}")
        return None
    for fault in trace.faults:
        console.note(f"warning: {fault}; the figures are not affected")
    if trace.unfinished and not trace.faults:
        console.note(f"warning: {', '.join(trace.unfinished)} of the trace ended before the run did; the figures are not "
                     "affected")
    return None if trace.faults or trace.unfinished else trace.digest()


def train(config: Config, folder: Path | None = None, console: Console | None = None) -> Trained:
    """Train the agent without an evaluation (`ami train`); write its curves and an MLflow run. Raises as `run` does."""
    console = console or Console(quiet=True)
    graph = to_graph(config)
    folder = _new_folder(config, folder)
    for remark in [*graph.remarks, *config.remarks()]:
        console.note(remark)
    with private_files():
        trained = _learnt(config, graph, folder, console)
        write_header(folder, graph, config.plain(), seed=config.settings.seed, details={"checkpoint": str(trained.file)})
        save(folder / AGENT_FILE, trained, graph, config)
        write_json(folder / "summary.json", {"seed": config.settings.seed, "learning_seconds": trained.seconds,
                                             "details": {"probes": trained.probes, "learning_was_cached": trained.cached,
                                                         "checkpoint": str(trained.file)}})
        with best_effort(console, "learning.png was not made", "Fix: `ami train` again, which finds the agent trained"):
            rows = read_rows(folder)
            if rows:
                plot_learning(rows, folder / "learning.png")
        store(config, folder, console)
    return trained


def _learnt(config: Config, graph: Graph, folder: Path, console: Console) -> Trained:
    """Return the trained agent; write learning curves to the run's folder and to MLflow during learning."""
    with Monitor(folder, config, graph, console) as monitor:
        trained = training.train(config, console, monitor)
    for line in (trained.line(), monitor.best):
        if line:
            console.note(line)
    if not monitor.rows and trained.rows:  # loaded, not trained now: write the figures of its original training
        with best_effort(console, "learning.jsonl was not written", "The figures are in the checkpoint"):
            LearningLog(folder, trained.rows).close()
    return trained


def _describe(config: Config, graph: Graph, trained: Trained, folder: Path) -> None:
    """Write the run's header and its agent."""
    threads = 1 if config.settings.runtime == "ray" else None  # a Ray actor has one thread
    details = {"overrides": list(config.overrides), "origin": origin(trained.weights, run_code(graph), threads)}
    write_header(folder, graph, config.plain(), seed=config.settings.seed, details=details)
    save(folder / AGENT_FILE, trained, graph, config)


def _recorded_ports(config: Config, graph: Graph) -> frozenset[str]:
    """Return the ports whose messages are recorded in full; raises as `ami.trace.levels.recorded_ports` does."""
    how = config.settings.trace
    return recorded_ports(graph, how.level, list(how.ports))


def judged_graph(config: Config) -> Graph:
    """Return the valid graph of a config whose episodes can be evaluated; raises as `run` does."""
    graph = to_graph(config)
    require(WORLD in graph.order, "the graph has no node 'world': an evaluation begins, ends and judges episodes there")
    check_plans(config, graph)
    return graph


def metrics_of(config: Config, graph: Graph) -> tuple[Metric, ...]:
    """Return the metrics named in `evaluation.metrics`; raises as `ami.evaluation.metrics.read_metrics` does."""
    return read_metrics(list(config.settings.evaluation.get("metrics", [])), graph, config.allow)


def try_out(graph: Graph, seed: int, manifest: Manifest, metrics: Sequence[Metric] = ()) -> float:
    """Run two ticks with initial weights and compute each metric on them, so that faults show before learning.

    Returns:
        The duration of the second tick in seconds.
    """
    with Agent(LocalRuntime(graph, seed, watch=watched(metrics))) as agent:
        ticks, done = [], []
        for moment in islice(agent.live(manifest.episodes()[:1]), 2):
            ticks.append({port: moment[port][0].cpu() for port in watched(metrics)})
            done.append(time.perf_counter())
    record = EpisodeRecord(manifest.pairs[0], False if manifest.tells_success else None, len(ticks) - 1, 0.0,
                           {port: torch.stack([tick[port] for tick in ticks]) for port in watched(metrics)})
    for metric in metrics:
        metric.of(record)
    return done[-1] - done[0]


def baselines(config: Config, graph: Graph, manifest: Manifest, console: Console) -> dict[str, Graph]:
    """Return the graphs of the baselines that can act in this world with the agent's weights; warn of the others.

    A baseline is left out, for example, if the oracle has no true dynamics of the world, if the agent's planner needs
    gradients that the baseline's model does not have, or if a network of the baseline would be untrained.

    Raises:
        UnknownName, TrustError: a baseline does not exist or is not allowed.
    """
    found: dict[str, Graph] = {}
    left_out: dict[str, list[str]] = {}
    for name in map(str, config.settings.evaluation.beside):
        try:
            found[name] = graph if name == UNTRAINED else to_graph(compose_baseline(config, name))
            if name != UNTRAINED:
                _check_trained(config, found[name], graph)
                try_out(found[name], config.settings.seed, manifest)
        except (GraphError, SettingError, PortError, CallError) as error:
            found.pop(name, None)
            left_out.setdefault(first_reason(str(error)), []).append(name)
    if left_out:
        reasons = "; ".join(f"{' and '.join(names)}: {reason}" for reason, names in left_out.items())
        some = [name for name in config.settings.evaluation.beside if name in found]
        console.note(f"warning: left out of the baselines, {reasons}. Fix to silence this: "
                     f"evaluation.beside=[{','.join(some)}]")
    return found


def seal(config: Config, graph: Graph, console: Console | None = None) -> Manifest:
    """Return the sealed pairs of a config's evaluation; raises the faults of a trial of its world, before any work."""
    world = build_module(graph, WORLD, config.settings.seed)
    if isinstance(world, World):
        if config.settings.runtime == "ray":
            world.check_elsewhere()
        for warning in world.warnings():
            (console or Console(quiet=True)).note(f"warning: {warning}")
    how = config.settings.evaluation
    manifest = Manifest.make(world, how.manifest_seed, how.pairs)
    manifest.expect(how.manifest_hash)
    return manifest


@contextmanager
def agents(config: Config, graph: Graph, weights: Weights, folder: Path,
           watch: Sequence[str] = ()) -> Iterator[list[Agent]]:
    """Start the agents of a config in its runtime; all of their processes end with the block.

    Args:
        watch: ports to observe besides those that evaluation needs, as "node.port".
    """
    settings = config.settings
    watch, payload = tuple(dict.fromkeys((*planning_ports(graph), *watch))), _recorded_ports(config, graph)
    traces = [folder / "trace" / f"agent-{i}" if settings.trace.record else None for i in range(settings.agents)]
    with ExitStack() as stack:
        started: list[Agent] = []
        if settings.runtime == "ray":
            from ami.runtime.ray_actors import RayRuntime
            from ami.runtime.ray_cluster import cluster

            stack.enter_context(cluster(settings.address))
        for trace in traces:
            runtime: Runtime
            if settings.runtime == "ray":
                runtime = RayRuntime(graph, settings.seed, weights, config.plain()["placement"], trace,
                                     payload, watch)
            else:
                recorder = TraceLog(trace, payload) if trace is not None else None
                if recorder is not None:
                    stack.callback(recorder.close)  # also if the agent cannot be built
                runtime = LocalRuntime(graph, settings.seed, weights, recorder, watch)
            started.append(stack.enter_context(Agent(runtime)))
        for agent in started:  # all Ray actors start in parallel
            agent.runtime.ready()
        yield started


def _evaluate_agent(config: Config, graph: Graph, weights: Weights, manifest: Manifest, metrics: Sequence[Metric],
                    folder: Path, console: Console, log: OutcomeLog) -> Evaluation:
    settings = config.settings
    begun = time.perf_counter()
    with agents(config, graph, weights, folder, watched(metrics)) as started:
        where = "in this process" if settings.runtime == "local" else f"as Ray actors, placement {settings.placement}"
        console.note(f"{len(started)} agent{'s' * (len(started) > 1)} of {len(graph.order)} modules {where}, started in "
                     f"{time.perf_counter() - begun:.0f} s")
        with console.counting("evaluate agent", len(manifest.pairs), "pairs") as bar:
            return evaluate(started, manifest, settings.evaluation.batch, _shown(bar, manifest), metrics, log.of("agent"))


def evaluate_local(config: Config, name: str, graph: Graph, weights: Weights, manifest: Manifest,
                   console: Console, metrics: Sequence[Metric] = (),
                   on_end: Callable[[int, Outcome], None] | None = None) -> Evaluation:
    """Evaluate an agent in this process; `name` labels its progress bar, `on_end` is as in `evaluate`."""
    watch = (*planning_ports(graph), *watched(metrics))
    with console.counting(f"evaluate {name}", len(manifest.pairs), "pairs") as bar, Agent(
            LocalRuntime(graph, config.settings.seed, weights, watch=watch)) as agent:
        return evaluate([agent], manifest, config.settings.evaluation.batch, _shown(bar, manifest), metrics, on_end)


def _shown(bar: Any, manifest: Manifest) -> Any:
    last = Progress(0, 0, 0)

    def on_progress(progress: Progress) -> None:
        nonlocal last
        so_far = (f"{progress.succeeded} of {progress.finished} solved" if manifest.tells_success
                  else f"mean return {progress.returned / max(progress.finished, 1):.4g}")
        bar(progress.finished - last.finished, so_far)
        last = progress

    return on_progress


def _check_trained(config: Config, baseline: Graph, graph: Graph) -> None:
    """Refuse a baseline with a network that differs from the agent's, if the agent's networks are trained."""
    if config.settings.checkpoint is None and not any(config.settings.learning.stages.values()):
        return
    other = sorted(set(baseline.order) - baseline.equal_nodes(graph) - {WORLD})
    untrained = [node for node in other if list(build_module(baseline, node, config.settings.seed).parameters())]
    require(not untrained,
            f"its {' and '.join(untrained)} would run untrained, with other settings or sizes than the agent's")


def _shared(weights: Weights, baseline: Graph, graph: Graph) -> Weights:
    """Return the agent's weights that a baseline uses: those of the modules that both have."""
    same = baseline.equal_nodes(graph) if _runs_trained(baseline, graph) else set()
    return {node: state for node, state in weights.items() if node in same}


def _runs_trained(baseline: Graph, graph: Graph) -> bool:
    """Return whether a baseline keeps the agent's modules; it then uses their weights, so only its named change differs."""
    return all(baseline.specs[node] == graph.specs[node] for node in ("perception", "world_model", "cost")
               if node in baseline.order and node in graph.order)


def _new_folder(config: Config, folder: Path | None) -> Path:
    """Return the folder of a new run; refuse one that holds a run already."""
    folder = Path(folder or Path(config.settings.store) / f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    if (folder / HEADER).exists() or (folder / "trace").exists():
        raise SettingError(f"'{folder}' holds a run already. Fix: another folder, hydra.run.dir=…, or delete it")
    for place, what in ((folder, "the run's folder"), (Path(config.settings.store), "store")):
        check_folder(place, what)
    check_database(Path(config.settings.store))
    return folder


def _without_effect(config: Config) -> list[str]:
    """Return a warning for each given setting that has no effect."""
    warnings = []
    if not config.settings.trace.record:
        asked = [text for text in config.overrides if text.lstrip("+").startswith(("trace.level", "trace.ports"))]
        warnings += [f"{text} has no effect with trace.record=false: nothing is recorded" for text in asked]
    if config.settings.runtime != "ray":
        asked = [text for text in config.overrides if text.lstrip("+").startswith(("placement", "address"))]
        warnings += [f"{text} has no effect with runtime=local: all modules run in this process" for text in asked]
    return warnings
