"""Monitor: show the progress of learning in the run's folder and in MLflow.

Each row of figures is written to `learning.jsonl` at once. `learning.png` and the run's page in MLflow follow within
seconds, each updated by its own thread. A thread pauses in proportion to its cost, so that a slow database or plot does not
slow learning. A failure is one warning; learning continues.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ami.config.compose import Config
from ami.evaluation.plots import plot_learning
from ami.graph.graph import Graph
from ami.learning.learning_log import LearningLog, Row, read_rows
from ami.learning.stage import Stage
from ami.module import Module
from ami.runtime.held_modules import Weights
from ami.saved.agent_file import Trained, save
from ami.session.validation import BEST_FILE, Validation
from ami.terminal.best_effort import best_effort
from ami.terminal.console import Console

NO_VALIDATION = "the agent is not validated during learning"

PAGE_SECONDS, PLOT_SECONDS = 5.0, 15.0
REST = 40  # pause as a multiple of the work's duration
SECONDS_TO_END = 60  # MLflow waits 20 s for the lock of its database, and a new database takes seconds


class Monitor:
    """Logs and validates one run during learning.

    In the folder of a killed run, the rows already logged stay and are not logged twice.

    Args:
        folder: the run's folder.
        config: the run's config; its store holds MLflow's database.
        graph: the agent's graph.
        console: prints warnings.
    """

    def __init__(self, folder: Path, config: Config, graph: Graph, console: Console) -> None:
        self.folder, self.config, self.graph, self.console = Path(folder), config, graph, console
        self.rows: list[Row] = []
        self._validation: Validation | None = None
        self._validates = True
        self._known: Counter[tuple[object, ...]] = Counter()
        self._log: LearningLog | None = None
        self._page: Any = None
        self._sent = 0
        self._threads: list[_Repeated] = []

    def begin(self, modules: Mapping[str, Module]) -> None:
        """Start monitoring; `modules` are the learning modules, by node."""
        with best_effort(self.console, NO_VALIDATION, ""):
            self._validation = Validation(self.config, self.graph, modules)
        fix = "The figures are in the checkpoint, and in learning.png after learning"
        with best_effort(self.console, "learning.jsonl is not written", fix):
            self.rows = list(read_rows(self.folder))
            self._known = Counter(map(_identity, self.rows))
            self._log = LearningLog(self.folder, self.rows)
        self._start("learning.png is not drawn during learning", "It is drawn after learning", PLOT_SECONDS, self._plot)
        with best_effort(self.console, "MLflow cannot be imported", "Fix: `ami trace sync` stores the run later"):
            from ami.tracking.mlflow_live import load

            load()  # in the main thread, where its warnings can be silenced
            self._start("the run's page in MLflow is not updated during learning", "It is stored when the run is over",
                        PAGE_SECONDS, self._send)

    def on_step(self, stage: Stage, step: int, row: Row | None, show: Callable[[Stage, int, Row], None]) -> None:
        """Log a learning step, and validate the agent if due.

        Args:
            stage: the current stage.
            step: the number of the finished step.
            row: the figures of the step, if any.
            show: receives the figures of a validation.
        """
        if row is not None:
            self.log(row)
        checked: Row | None = None
        validation, validates = self._validation, self._validates
        self._validates = False  # a failed validation is not retried
        with best_effort(self.console, NO_VALIDATION, "Learning continues"):
            if validation is not None and validates:
                if validation.is_due(stage, step):
                    checked = validation.run(stage, step)
                if validation.is_best({**(row or {}), **(checked or {})}):
                    self._keep(validation.weights())
            self._validates = validates
        if checked is not None:
            self.log(checked)
            show(stage, step, checked)

    @property
    def best(self) -> str | None:
        """A line about the best weights; None without validation, or if the last weights are the best."""
        if self._validation is None or self._validation.best is None or self._validation.is_last_best:
            return None
        return (f"best weights by validation: {self._validation.best[1]}; the run uses the last ones. To use the best: "
                f"checkpoint={self.folder / BEST_FILE}")

    def _keep(self, weights: Weights) -> None:
        save(self.folder / BEST_FILE, Trained(dict(weights), self.folder / BEST_FILE, rows=[]), self.graph, self.config)

    def log(self, row: Row) -> None:
        """Log a row of figures, unless it was logged before the run was killed."""
        if self._known[_identity(row)] > 0:
            self._known[_identity(row)] -= 1
            return
        self.rows.append(dict(row))
        if self._log is not None:
            log, self._log = self._log, None  # a full disk stays full: warn once, not per row
            with best_effort(self.console, "learning.jsonl is not written any more", "The figures are in the checkpoint"):
                log.append(row)
                self._log = log

    def _start(self, failed: str, fix: str, seconds: float, work: Callable[[], None]) -> None:
        def guarded(stop: threading.Event) -> None:
            with best_effort(self.console, failed, fix):
                _repeat(work, seconds, stop)

        self._threads.append(_Repeated(guarded))

    def _plot(self) -> None:
        if self.rows:
            plot_learning(list(self.rows), self.folder / "learning.png")

    def _send(self) -> None:
        if self._page is None:
            from ami.tracking.mlflow_live import LivePage

            settings = {**self.config.plain(), **self.graph.describe()["nodes"]}
            tags = {"ami.graph.graph": self.graph.hash(), "ami.seed": str(self.config.settings.seed)}
            self._page = LivePage(self.folder, Path(self.config.settings.store), settings, tags)
        rows = self.rows[self._sent:]
        if rows:
            self._page.log(rows)
            self._sent += len(rows)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for thread in self._threads:
            thread.end(SECONDS_TO_END)
        if kind is not None and self._page is not None:
            with best_effort(self.console, "the run's page in MLflow is not marked as stopped", ""):
                self._page.end("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")
        if self._log is not None:
            self._log.close()


class _Repeated:
    """A thread that ends on request, or is abandoned if it hangs."""

    def __init__(self, work: Callable[[threading.Event], None]) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=work, args=(self._stop,), daemon=True, name="monitor")
        self._thread.start()

    def end(self, seconds: float) -> None:
        self._stop.set()
        self._thread.join(seconds)


def _repeat(work: Callable[[], None], seconds: float, stop: threading.Event) -> None:
    """Repeat the work until `stop` is set, then a last time; pause `seconds`, or `REST` times its duration if longer."""
    rest = seconds
    while True:
        is_last = stop.wait(rest)
        begun = time.perf_counter()
        work()
        if is_last:
            return
        rest = max(seconds, REST * (time.perf_counter() - begun))


def _identity(row: Row) -> tuple[object, ...]:
    """Return the key that identifies a row: a resumed training logs the rows after its last save a second time."""
    return row.get("stage"), row["step"], *sorted(row)
