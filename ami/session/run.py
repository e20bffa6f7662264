"""`ami run`: train the agent (or load it from the store), evaluate it and its baselines, write everything to one folder.

    run folder
    ├── summary.json      all figures: those of the table, and details
    ├── manifest.json     the sealed pairs
    ├── header.json       config, graph, versions, hashes
    ├── trace/agent-0/    the trace of the evaluation
    ├── acting/           header and trace of the agent that acted while it learnt, if one did
    ├── agent.safetensors the agent: weights and configuration, for `ami.load`, `ami export` and `checkpoint=`
    ├── best.safetensors  the agent with the best validation score
    ├── outcomes.jsonl    the outcome of each pair, written when its episode ends
    ├── learning.jsonl    the learning curves, written during learning
    ├── results.png, learning.png, episodes.gif, episodes.mp4
    └── mlflow.json       the id of this run in the store's mlflow.db
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ami.agent import Agent
from ami.config.compose import Config, to_graph
from ami.envs.pool import pooled_environments
from ami.evaluation.evaluate import evaluation_ports
from ami.evaluation.manifest import Manifest
from ami.evaluation.outcome_log import OutcomeLog, Results
from ami.evaluation.outcomes import Evaluation
from ami.evaluation.sheet import Sheet
from ami.evaluation.table import results_table, summary
from ami.graph.graph import Graph
from ami.learning.threads import torch_threads
from ami.runtime.local import LocalRuntime
from ami.saved.agent_file import Trained
from ami.saved.initial_weights import initial_weights
from ami.session.acting import acting_figures
from ami.session.baselines import baselines, evaluating
from ami.session.checks import checked_graph, notes
from ami.session.evaluation import MANIFEST, evaluate_agent, metrics_of, seal, try_out
from ami.session.learn import opened
from ami.session.planning_budget import check_duration
from ami.session.presentation import Presentation, present
from ami.session.record import describe, digest_of
from ami.session.threads import with_threads
from ami.session.train import learn_in, new_folder
from ami.storage.files import private_files, write_json
from ami.storage.lock import locked_folder
from ami.terminal.console import Console
from ami.trace.reader import Trace


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: the run's folder.
        summary: all figures, as in summary.json.
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
        """Open the trace of the evaluation."""
        return Trace.open(self.folder)


def build(config: Config) -> Agent:
    """Build the agent of a config in this process, ready for `reset` and `cycle`.

    The weights are those of `checkpoint`, or initial weights if it is null; those of a node with `weights` come from there.
    """
    graph, settings = to_graph(config), config.settings
    weights = opened(config, graph).weights if settings.checkpoint else initial_weights(config, graph).weights
    return Agent(LocalRuntime(graph, settings.seed, weights, watch=evaluation_ports(graph)))


def run(config: Config, folder: Path | None = None, console: Console | None = None) -> Run:
    """Train the agent, evaluate it and its baselines, and record the evaluation.

    Args:
        config: from `ami.compose`.
        folder: the run's folder; by default a new one in `store`, named by date and time.
        console: prints progress; by default nothing is printed.

    Raises:
        GraphError, SettingError, UnknownName: the config is invalid; raised before learning.
    """
    with pooled_environments():
        return _run_in(config, folder, console or Console(quiet=True))


def _run_in(config: Config, folder: Path | None, console: Console) -> Run:
    checked_graph(config)
    config = with_threads(config, console)
    graph = to_graph(config)
    folder = new_folder(config, folder)
    for line in notes(config, graph):
        console.note(line)
    with private_files(), torch_threads(config.settings.learning.threads):
        return _run(config, graph, folder, console)


def _run(config: Config, graph: Graph, folder: Path, console: Console) -> Run:
    settings, metrics = config.settings, metrics_of(config, graph)
    manifest = seal(config, graph, console)
    late = check_duration(config, graph, manifest, try_out(graph, settings.seed, manifest, metrics))
    if late is not None:
        console.note(f"warning: {late}")
    found = baselines(config, graph, manifest, console)
    trained = learn_in(config, graph, folder, console)
    manifest.save(folder / MANIFEST)  # not earlier: an invalid config must not leave a folder
    with locked_folder(folder, "the run"):
        describe(config, graph, trained, folder)
        return evaluated(config, graph, trained, manifest, found, folder, console)


def evaluated(config: Config, graph: Graph, trained: Trained, manifest: Manifest, found: Mapping[str, Graph], folder: Path,
              console: Console, kept: Results | None = None) -> Run:
    """Evaluate a trained agent and its baselines, and write everything to the run's folder.

    Args:
        config: the run's config.
        graph: the agent's graph.
        trained: the agent.
        manifest: the sealed pairs.
        found: the baselines' graphs, by name.
        folder: the run's folder, described.
        console: prints progress.
        kept: the results of finished pairs, of a run that is resumed.
    """
    settings, metrics = config.settings, metrics_of(config, graph)
    try:
        with (OutcomeLog(folder, lambda text: console.note(f"warning: {text}"), kept) as log,
              evaluating(found, config, graph, trained.weights, manifest, metrics, log) as evaluations_of_baselines):
            evaluations = {"agent": evaluate_agent(config, graph, trained.weights, manifest, metrics, folder, console, log)}
            evaluations |= evaluations_of_baselines(console)
    except KeyboardInterrupt:
        console.note(f"stopped: `ami run --resume {folder}` continues")
        raise
    for name, evaluation in evaluations.items():
        for reason, count in evaluation.failures().items():
            console.note(f"warning: the environment failed in {count} of {len(manifest.pairs)} episodes of {name}: {reason}")
    figures = summary(evaluations, manifest_hash=manifest.hash, seed=settings.seed, learning_seconds=trained.seconds,
                      trace_digest=digest_of(folder, console) if settings.trace.record else None)
    figures["details"] |= {"probes": trained.probes, "learning_was_cached": trained.cached,
                           "acting": acting_figures(trained.rows),
                           "checkpoint": None if trained.file is None else str(trained.file)}
    done = Run(folder, figures, evaluations, trained)
    console.table(done.table())  # before writing: if the disk is full, the figures are at least printed
    write_json(folder / "summary.json", figures)
    present(Presentation(folder, config, graph, manifest, figures, trained, console.note), console)
    return done
