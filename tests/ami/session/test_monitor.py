"""Monitor: figures appear during learning; a slow or failing part does not affect learning."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ami.config.compose import Config, compose
from ami.graph.graph import Graph
from ami.learning.learning_log import read_rows
from ami.session import monitor as monitors
from ami.session.monitor import Monitor
from ami.session.validation import Validation, validation_pairs
from tests.support.notes import Notes
from tests.support.stages import stage

STAGE = stage()
ROWS = [{"stage": "model", "step": float(step), "loss": 1.0 / (step + 1)} for step in range(0, 100, 20)]


class Page:
    """A stand-in for the run's page in MLflow."""

    def __init__(self, *_: Any) -> None:
        self.rows: list[Any] = []
        self.status = "RUNNING"
        pages.append(self)

    def log(self, rows: Any) -> None:
        self.rows += rows

    def end(self, status: str) -> None:
        self.status = status


pages: list[Page] = []


@pytest.fixture
def console() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def config() -> Config:
    return compose(["validation.every=0"])


@pytest.fixture
def watched(tiny_agent: Callable[..., Graph], tmp_path: Path, console: Notes, config: Config,
            monkeypatch: pytest.MonkeyPatch) -> Callable[[], Monitor]:
    pages.clear()
    monkeypatch.setattr("ami.tracking.mlflow_live.LivePage", Page)
    monkeypatch.setattr("ami.tracking.mlflow_live.load", lambda: None)
    monkeypatch.setattr(monitors, "PAGE_SECONDS", 0.01)
    monkeypatch.setattr(monitors, "PLOT_SECONDS", 0.01)
    monkeypatch.setattr(monitors, "plot_learning", lambda rows, path: path.write_text(str(len(rows))))
    return lambda: Monitor(tmp_path, config, tiny_agent(observe="state", max_episode_steps=3), console)


def seen(text: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not text() and time.monotonic() < deadline:
        time.sleep(0.01)
    return text()


def test_folder_and_page_fill_during_learning(watched: Callable[[], Monitor], tmp_path: Path, console: Notes) -> None:
    with watched() as monitor:
        monitor.begin({})
        for row in ROWS[:3]:
            monitor.on_step(STAGE, int(row["step"]), row, lambda *_: None)
        assert read_rows(tmp_path) == ROWS[:3]
        assert seen(lambda: bool(pages) and pages[0].rows == ROWS[:3])
        assert seen(lambda: (tmp_path / "learning.png").exists())
        monitor.log(ROWS[3])
    assert pages[0].rows == ROWS[:4] and pages[0].status == "RUNNING", "the run continues"
    assert (tmp_path / "learning.png").read_text() == "4" and not console.notes


def test_rows_of_a_killed_run_stay_and_are_not_logged_twice(watched: Callable[[], Monitor], tmp_path: Path) -> None:
    checked = {"stage": "model", "step": 40.0, "success": 0.5}
    with watched() as first:
        first.begin({})
        for row in (*ROWS[:3], checked):
            first.log(row)
    with (tmp_path / "learning.jsonl").open("a") as file:
        file.write('{"stage": "mo')
    with watched() as second:
        second.begin({})
        for row in (*ROWS, *ROWS):  # a later round logs the same step numbers
            second.log(row)
    assert read_rows(tmp_path) == [*ROWS[:3], checked, *ROWS[3:], *ROWS]
    assert pages[1].rows == read_rows(tmp_path)


def test_a_page_that_hangs_does_not_slow_learning(watched: Callable[[], Monitor], monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr(Page, "log", lambda *_: free.wait(30))
    monkeypatch.setattr(monitors, "SECONDS_TO_END", 0.2)
    begun = time.monotonic()
    with watched() as monitor:
        monitor.begin({})
        for row in ROWS:
            monitor.log(row)
            time.sleep(0.02)
    assert time.monotonic() - begun < 5
    free.set()


@pytest.mark.parametrize("broken, words", [
    ("ami.tracking.mlflow_live.LivePage", "the run's page in MLflow is not updated during learning: "),
    ("ami.session.monitor.plot_learning", "learning.png is not drawn during learning: "),
    ("ami.learning.learning_log.LearningLog.append", "learning.jsonl is not written any more: "),
    ("ami.session.monitor.Validation", "the agent is not validated during learning: ")])
def test_a_fault_is_one_warning_and_learning_continues(watched: Callable[[], Monitor], console: Notes, broken: str,
                                                       words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fails)
    with watched() as monitor:
        monitor.begin({})
        for row in ROWS:
            monitor.on_step(STAGE, int(row["step"]), row, lambda *_: None)
    (warning,) = console.notes
    assert warning.startswith(f"warning: {words}[Errno 28] No space left on device")


@pytest.mark.parametrize("error, status", [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")])
def test_page_status_after_a_stop(watched: Callable[[], Monitor], error: type[BaseException], status: str) -> None:
    with pytest.raises(error), watched() as monitor:
        monitor.begin({})
        monitor.log(ROWS[0])
        raise error
    assert pages[0].status == status


def test_validation_pairs_and_sealed_pairs_are_disjoint(tiny_agent: Callable[..., Graph], config: Config) -> None:
    manifest = validation_pairs(config, tiny_agent(observe="state"))
    assert {pair["kind"] for pair in manifest.pairs} == {"same_room", "across"}
    world = tiny_agent(observe="state").drafts["world"]
    sealed = world.sample_pairs(config.settings.evaluation.manifest_seed, config.settings.evaluation.pairs)
    assert not [pair for pair in manifest.pairs if pair in sealed]
    same = config.seeded(manifest.seed)
    same.settings.evaluation.manifest_seed = manifest.seed
    same.settings.seed = config.settings.seed
    assert validation_pairs(same, tiny_agent(observe="state")).pairs == (), "sealed pairs are left out"


def test_validation_keeps_the_random_state_and_saves_the_best_weights(
        tiny_agent: Callable[..., Graph], tmp_path: Path, console: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose(["validation={every: 40, pairs: 1, best_by: success}"])
    graph = tiny_agent(observe="state", max_episode_steps=40)
    monkeypatch.setattr("ami.tracking.mlflow_live.LivePage", Page)
    monkeypatch.setattr("ami.tracking.mlflow_live.load", lambda: None)
    monkeypatch.setattr(monitors, "plot_learning", lambda *_: None)
    shown: list[Any] = []
    with Monitor(tmp_path, config, graph, console) as monitor:
        monitor.begin({"world_model": graph.drafts["world_model"]})
        before = torch.get_rng_state()
        for step in (20, 40, 80, 100):
            monitor.on_step(STAGE, step, None, lambda *args: shown.append(args[1]))
        assert torch.equal(before, torch.get_rng_state())
    assert shown == [40, 80, 100], "every 40 steps and at the end"
    assert [row["success"] for row in read_rows(tmp_path)] == [1.0, 1.0, 1.0]
    assert not console.notes and (tmp_path / "best.safetensors").exists()
    assert monitor.best is None, "the last weights are the best"
    monitor._validation.is_best({"stage": "model", "step": 120.0, "success": 0.5})
    assert monitor.best == (f"best weights by validation: model, step 100; the run uses the last ones. To use the best: "
                            f"checkpoint={tmp_path / 'best.safetensors'}")


def test_weights_leave_out_learning_state(tiny_agent: Callable[..., Graph]) -> None:
    module = torch.nn.Linear(2, 2)
    module.inner = torch.nn.Linear(1, 1)
    module.inner.learning_state = torch.nn.Linear(1, 1)  # as `begin_learning` makes it
    validation = Validation(compose(["validation.every=0"]), tiny_agent(observe="state"), {"cost": module})
    assert set(validation.weights()["cost"]) == {"weight", "bias", "inner.weight", "inner.bias"}


def test_best_follows_the_configured_criterion(tiny_agent: Callable[..., Graph]) -> None:
    config = compose(["validation={every: 40, pairs: 0, best_by: prediction}"])
    validation = Validation(config, tiny_agent(observe="state"), {})
    assert validation.run(STAGE, 40) is None
    rows = [{"stage": "model", "step": 0.0, "error_vs_persistence": error} for error in (0.9, 0.5, float("nan"), 0.6, 0.5)]
    assert [validation.is_best(row) for row in rows] == [True, True, False, False, True]
    assert not validation.is_best({"stage": "model", "step": 0.0, "success": 1.0})
