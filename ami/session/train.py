"""`ami train`: train the agent of a config, or load it, with its curves, best weights and MLflow run in a folder."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ami.config.compose import Config, to_graph
from ami.envs.pool import pooled_environments
from ami.errors import SettingError
from ami.evaluation.plots import plot_learning
from ami.graph.graph import Graph
from ami.learning.learning_log import LearningLog, read_rows
from ami.saved.agent_file import AGENT_FILE, Trained, save
from ami.session.acting import acting_figures, acting_line
from ami.session.checks import learning_remarks
from ami.session.learn import learn
from ami.session.monitor import Monitor
from ami.session.presentation import store
from ami.session.threads import with_threads
from ami.storage.files import check_folder, private_files, write_json
from ami.terminal.best_effort import best_effort
from ami.terminal.console import Console
from ami.trace.header import NAME as HEADER
from ami.trace.header import write_header
from ami.tracking.mlflow_database import check_database


def train(config: Config, folder: Path | None = None, console: Console | None = None) -> Trained:
    """Train the agent without an evaluation (`ami train`); write its curves and an MLflow run. Raises as `run` does."""
    with pooled_environments():
        return _train(config, folder, console or Console(quiet=True))


def _train(config: Config, folder: Path | None, console: Console) -> Trained:
    config = with_threads(config, console)
    graph = to_graph(config)
    folder = new_folder(config, folder)
    for remark in [*graph.remarks, *config.remarks(), *learning_remarks(config, graph)]:
        console.note(remark)
    with private_files():
        trained = learn_in(config, graph, folder, console)
        write_header(folder, graph, config.plain(), seed=config.settings.seed, details={"checkpoint": str(trained.file)})
        save(folder / AGENT_FILE, trained, graph, config)
        write_json(folder / "summary.json", {"seed": config.settings.seed, "learning_seconds": trained.seconds,
                                             "details": {"probes": trained.probes, "learning_was_cached": trained.cached,
                                                         "acting": acting_figures(trained.rows),
                                                         "checkpoint": str(trained.file)}})
        with best_effort(console, "learning.png was not made", "Fix: `ami train` again, which finds the agent trained"):
            rows = read_rows(folder)
            if rows:
                plot_learning(rows, folder / "learning.png")
        store(config, folder, console)
    return trained


def learn_in(config: Config, graph: Graph, folder: Path, console: Console) -> Trained:
    """Return the trained agent; write learning curves to the run's folder and to MLflow during learning."""
    with Monitor(folder, config, graph, console) as monitor:
        trained = learn(config, console, monitor)
    for line in (trained.line(), acting_line(trained.rows), monitor.best):
        if line:
            console.note(line)
    if not monitor.rows and trained.rows:  # loaded, not trained now: write the figures of its original training
        with best_effort(console, "learning.jsonl was not written", "The figures are in the checkpoint"):
            LearningLog(folder, trained.rows).close()
    return trained


def new_folder(config: Config, folder: Path | None) -> Path:
    """Return the folder of a new run; refuse one that holds a run already."""
    folder = Path(folder or Path(config.settings.store) / f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    if (folder / HEADER).exists() or (folder / "trace").exists():
        raise SettingError(f"'{folder}' holds a run already. Fix: another folder, hydra.run.dir=…, or delete it")
    for place, what in ((folder, "the run's folder"), (Path(config.settings.store), "store")):
        check_folder(place, what)
    check_database(Path(config.settings.store))
    return folder
