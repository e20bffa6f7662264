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

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ami.agent import Agent
from ami.config.compose import Config, to_graph
from ami.errors import TraceError, require, suggestion
from ami.evaluation.evaluate import Evaluation, planning_ports
from ami.evaluation.metrics import fitting, watched
from ami.evaluation.outcome_log import OutcomeLog
from ami.evaluation.sheet import Sheet
from ami.evaluation.table import results_table, summary
from ami.graph.graph import Graph
from ami.graph.partition import groups_of
from ami.graph.prune import needed
from ami.learning.threads import torch_threads
from ami.runtime.local import LocalRuntime
from ami.saved.agent_file import AGENT_FILE, Trained, open_trained, save
from ami.session.baselines import UNTRAINED, baselines, shared_weights
from ami.session.evaluation import (
    MANIFEST,
    evaluate_agent,
    evaluate_local,
    judged_graph,
    metrics_of,
    ports_recorded_by,
    seal,
    try_out,
)
from ami.session.planning_budget import check_duration
from ami.session.presentation import Presentation, present, video_formats
from ami.session.train import learn_in, new_folder
from ami.storage.files import private_files, write_json
from ami.storage.store import find
from ami.terminal.console import Console
from ami.trace.header import write_header
from ami.trace.provenance import origin, run_code
from ami.trace.reader import Trace

RUNTIMES = ("local", "ray")


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
    ports_recorded_by(config, graph)
    video_formats(config)
    folder = new_folder(config, folder)
    for warning in [*graph.warnings, *_without_effect(config)]:
        console.note(f"warning: {warning}")
    for remark in [*graph.remarks, *config.remarks(), *_without_reader(config, graph)]:
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
    found = baselines(config, graph, manifest, console)
    trained = learn_in(config, graph, folder, console)
    manifest.save(folder / MANIFEST)  # not earlier: a refused config leaves no folder
    _describe(config, graph, trained, folder)
    with OutcomeLog(folder, lambda text: console.note(f"warning: {text}")) as log:
        evaluations = {"agent": evaluate_agent(config, graph, trained.weights, manifest, metrics, folder, console, log)}
        for name, baseline in found.items():
            weights = {} if name == UNTRAINED else shared_weights(trained.weights, baseline, graph)
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


def _describe(config: Config, graph: Graph, trained: Trained, folder: Path) -> None:
    """Write the run's header and its agent."""
    threads = 1 if config.settings.runtime == "ray" else None  # a Ray actor has one thread
    details = {"overrides": list(config.overrides), "origin": origin(trained.weights, run_code(graph), threads)}
    write_header(folder, graph, config.plain(), seed=config.settings.seed, details=details)
    save(folder / AGENT_FILE, trained, graph, config)


def _without_reader(config: Config, graph: Graph) -> list[str]:
    """Return a line about the nodes that no action depends on, if the run records a trace."""
    kept = needed(graph, (*planning_ports(graph), *watched(metrics_of(config, graph))))
    unread = [node for node in graph.order if node not in kept]
    if not unread or not config.settings.trace.record:
        return []
    what = "do not fire (prune=true)" if config.settings.prune else "fire for the trace alone; prune=true leaves them out"
    return [f"no action depends on {' and '.join(unread)}: they {what}"]


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
