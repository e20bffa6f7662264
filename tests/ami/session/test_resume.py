"""`ami run --resume`: a run that was stopped at any moment ends with the summary and the digest of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import ami
from ami.cli.main import main
from ami.config.compose import Config
from ami.errors import SettingError, TraceError
from ami.evaluation.outcome_log import NAME, OutcomeLog
from ami.session.resume import resume
from ami.session.run import Run
from ami.storage.lock import locked_folder
from ami.trace.header import NAME as HEADER

PAIRS = 6
"""Three waves of two."""


def config_of(place: Path, *overrides: str) -> Config:
    return ami.compose(["learning=none", "runtime=local", f"evaluation.pairs={PAIRS // 2}", "evaluation.batch=2",
                        "evaluation.baselines=[random]", "evaluation.video=0", "planner.num_candidates=8",
                        "planner.num_elites=2", "planner.num_iterations=1", "world.max_episode_steps=6", f"store={place}",
                        *overrides])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ami.session.run.present", lambda shown, console: None)


@pytest.fixture(scope="module")
def whole(store: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ami.session.run.present", lambda shown, console: None)
        return ami.run(config_of(store), store / "whole")


def stop_after(results: int, how: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process stopped once so many results are written."""
    append, written = OutcomeLog._append, 0

    def counted(self: OutcomeLog, line: str) -> None:
        nonlocal written
        append(self, line)
        written += 1
        if written == results:
            os.kill(os.getpid(), how)

    monkeypatch.setattr(OutcomeLog, "_append", counted)


def untimed(figures: Any) -> Any:
    """Return a summary without its milliseconds."""
    if not isinstance(figures, dict):
        return figures
    return {name: untimed(value) for name, value in figures.items() if name != "ms_per_decision"}


def assert_same(resumed: Run, whole: Run) -> None:
    assert untimed(resumed.summary) == untimed(whole.summary)
    for name, evaluation in whole.evaluations.items():
        found = resumed.evaluations[name]
        assert found.outcomes == evaluation.outcomes
        assert (found.decisions, found.plans, found.model_steps) == (
            evaluation.decisions, evaluation.plans, evaluation.model_steps)
        assert found.seconds > 0
    rows = [json.loads(line) for line in (resumed.folder / NAME).read_text().splitlines()]
    assert len(rows) == len({(row["agent"], row["pair"]) for row in rows}) == 2 * PAIRS


@pytest.mark.parametrize("results", [1, PAIRS + 3], ids=["first wave", "baseline"])
def test_a_killed_run_ends_as_an_undisturbed_one(results: int, store: Path, whole: Run,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store / f"killed-{results}"
    child = os.fork()
    if child == 0:
        with pytest.MonkeyPatch.context() as patch:
            stop_after(results, signal.SIGKILL, patch)
            ami.run(config_of(store), folder)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert_same(resume(folder), whole)
    assert_same(resume(folder), whole)  # a finished run stays as it is


def test_a_run_stopped_by_ctrl_c_ends_as_an_undisturbed_one(store: Path, whole: Run) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(3, signal.SIGINT, patch)
        ami.run(config_of(store), store / "stopped")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(1, signal.SIGINT, patch)
        resume(store / "stopped")
    assert_same(resume(store / "stopped"), whole)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_run_of_two_ray_agents_stopped_by_ctrl_c_ends_as_an_undisturbed_one(store: Path, whole: Run) -> None:
    config = config_of(store, "runtime=ray", "placement=agent", "agents=2")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(3, signal.SIGINT, patch)
        ami.run(config, store / "ray")
    assert_same(resume(store / "ray"), whole)


def test_without_a_trace_logged_waves_are_finished(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(4, signal.SIGINT, patch)
        ami.run(config_of(store, "trace.record=false"), store / "untraced")
    before = (store / "untraced" / NAME).read_text()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(1, signal.SIGINT, patch)
        resume(store / "untraced")
    lines = before.splitlines(keepends=True)
    assert (store / "untraced" / NAME).read_text().startswith("".join(lines[:len(lines) // 2 * 2]))


def test_a_run_of_other_weights_or_settings_is_refused(store: Path, whole: Run) -> None:
    header = json.loads((whole.folder / HEADER).read_text())
    try:
        for section, name, words in (("code", "engine", "code.engine was"), ("weights", "cost", "weights.cost was")):
            changed = json.loads(json.dumps(header))
            changed["details"]["origin"][section][name] = "0123456789abcdef"
            (whole.folder / HEADER).write_text(json.dumps(changed))
            with pytest.raises(SettingError, match=f"since its episodes would not be of one agent: {words}"):
                resume(whole.folder)
        (whole.folder / HEADER).write_text(json.dumps(header | {"config": header["config"] | {"seed": 1}}))
        with pytest.raises(SettingError, match="seed was 1 and is 0"):
            resume(whole.folder)
    finally:
        (whole.folder / HEADER).write_text(json.dumps(header))


def test_a_folder_that_cannot_be_resumed_is_refused(tmp_path: Path, whole: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TraceError, match=r"holds no run whose evaluation had begun: expected header\.json"):
        resume(tmp_path)
    with pytest.raises(TraceError, match="holds no run: expected a folder with header"):
        resume(tmp_path / "nothing")
    with locked_folder(whole.folder, "the run"), pytest.raises(SettingError, match="another process is at work on the run"):
        resume(whole.folder)
    assert main(["run", "--resume", str(whole.folder), "seed=1"]) == 2
    assert "--resume excludes seed=1: the run keeps its settings. Fix: leave it out" in capsys.readouterr().err


def test_a_damaged_log_of_outcomes_is_refused(store: Path, whole: Run) -> None:
    good = (whole.folder / NAME).read_text()
    row = json.loads(good.splitlines()[0])
    try:
        for changed, words in (({"pair": 99}, "line 1 names pair 99 of"), ({"steps": "many"}, "line 1: steps is 'many'")):
            (whole.folder / NAME).write_text(json.dumps(row | changed) + "\n")
            with pytest.raises(TraceError, match=words):
                resume(whole.folder)
    finally:
        (whole.folder / NAME).write_text(good)
