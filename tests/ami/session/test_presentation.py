"""Presentation: each part that fails is one warning, and the others are made."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy.exc import OperationalError

from ami.config.compose import compose
from ami.errors import SettingError
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.saved.agent_file import Trained
from ami.session import presentation
from ami.session.presentation import Presentation, present, video_formats
from ami.terminal.best_effort import best_effort
from tests.support.notes import Notes

KINDS = {kind: {"n": 2, "success": 0.5, "low": 0.1, "high": 0.9, "mean_steps": 9.0, "return": 0.5, "return_low": 0.0,
                "return_high": 1.0} for kind in ("same_room", "across")}
SUMMARY = {"agent": KINDS, "manifest_hash": "00ff", "seed": 0, "details": {}}
ROWS: list[dict[str, Any]] = [{"stage": "model", "step": float(step), "loss": 1 / (1 + step)} for step in range(0, 100, 20)]
NO_SPACE = OSError(28, "No space left on device")


composed = cache(lambda *overrides: compose(overrides))


@pytest.fixture
def console() -> Notes:
    return Notes()


@pytest.fixture
def shown(tiny_agent: Callable[..., Graph], tmp_path: Path, console: Notes,
          monkeypatch: pytest.MonkeyPatch) -> Callable[..., Presentation]:
    """Return a function that makes a finished run of the tiny agent; plots and MLflow have their own tests."""
    monkeypatch.setattr("ami.tracking.mlflow_runs.store", lambda *_, **__: "a run")
    for plot in ("plot_results", "plot_learning"):  # drawing them takes a second: tests/ami/evaluation/test_plots.py
        monkeypatch.setattr(presentation, plot, lambda _, path: path.touch())

    def make(graph: Graph | None = None, *overrides: str) -> Presentation:
        graph = graph or tiny_agent(max_episode_steps=2)
        config = composed("evaluation.video=1", "evaluation.video_formats=[gif]", *overrides)
        config.settings.store = str(tmp_path)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "summary.json").write_text(json.dumps(SUMMARY))
        return Presentation(folder, config, graph, Manifest.make(graph.drafts["world"], 1, 1), SUMMARY, Trained(rows=ROWS),
                            console.note)

    return make


def test_every_part_is_made_and_the_last_lines_name_the_folder(shown: Callable[..., Presentation], console: Notes) -> None:
    run = shown()
    present(run, console)
    assert {path.name for path in run.folder.iterdir()} == {"summary.json", "results.png", "learning.png", "episodes.gif"}
    assert not console.warnings and "episodes.gif" in console.notes[-1]


FAULTS = {
    "results.png": ("ami.session.presentation.plot_results", ValueError("an invalid colour\nin two lines"),
                    "results.png was not made: ValueError: an invalid colour in two lines."),
    "learning.png": ("ami.session.presentation.plot_learning", NO_SPACE,
                     "learning.png was not made: [Errno 28] No space left on device."),
    "episodes.gif": ("ami.session.presentation.record_video", AttributeError("no attribute glGetError"),
                     "the video was not made: AttributeError: no attribute glGetError."),
    "mlflow": ("ami.tracking.mlflow_runs.store", OperationalError("INSERT", {}, Exception("database is locked")),
               "OperationalError: (builtins.Exception) database is locked"),
}


@pytest.mark.parametrize("part", FAULTS)
def test_a_failing_part_does_not_affect_the_others(shown: Callable[..., Presentation], console: Notes, part: str,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    target, error, words = FAULTS[part]

    def fails(*_: Any, **__: Any) -> None:
        raise error

    run = shown()
    with monkeypatch.context() as patched:
        patched.setattr(target, fails)
        present(run, console)
    (warning,) = console.warnings
    assert words in warning and "\n" not in warning
    later = "ami trace sync" if part == "mlflow" else "ami plot"
    assert warning.endswith(f"Fix: `{later} {run.folder}` {'stores' if part == 'mlflow' else 'makes'} it later")
    made = {path.name for path in run.folder.iterdir()}
    assert made == {"summary.json", "results.png", "learning.png", "episodes.gif"} - {part}
    assert json.loads((run.folder / "summary.json").read_text()) == SUMMARY
    assert "Everything is in" in console.notes[-1]


def test_failing_mlflow_import_is_one_warning(shown: Callable[..., Presentation], console: Notes,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ami.tracking.mlflow_runs", None)
    present(shown(), console)
    (warning,) = console.warnings
    assert "the run is not in" in warning and "ImportError" not in warning.split("mlflow.db")[0]


def test_ctrl_c_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt), best_effort(Notes(), "nothing was made", ""):
        raise KeyboardInterrupt


def test_a_world_without_pictures_has_no_video_and_a_note(
        shown: Callable[..., Presentation], tiny_agent: Callable[..., Graph], console: Notes,
        monkeypatch: pytest.MonkeyPatch) -> None:
    graph = tiny_agent(observe="state")
    run = shown(graph)
    monkeypatch.setattr(graph.drafts["world"], "metadata", {})
    present(run, console)
    assert not (run.folder / "episodes.gif").exists() and not console.warnings
    assert presentation.NO_PICTURES in console.notes


def test_video_of_a_vector_world_uses_its_renderer(shown: Callable[..., Presentation], console: Notes,
                                                   tiny_agent: Callable[..., Graph]) -> None:
    graph = tiny_agent(observe="state", max_episode_steps=2)
    run = shown(graph)
    present(run, console)
    with Image.open(run.folder / "episodes.gif") as gif:
        assert gif.n_frames == 3
    assert not console.warnings and presentation.NO_PICTURES not in console.notes


def test_video_without_overlay_has_no_paths_and_a_note(
        shown: Callable[..., Presentation], tiny_agent: Callable[..., Graph], console: Notes) -> None:
    graph = tiny_agent(max_episode_steps=2)
    graph.drafts["world"].overlay = None
    present(shown(graph), console)
    assert presentation.NO_OVERLAY in console.notes and "docs/own_world.md" in presentation.NO_OVERLAY


def test_mp4_is_made_if_available_and_refused_before_work_if_not(
        shown: Callable[..., Presentation], console: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, default = shown(None, "evaluation.video_formats=[gif,mp4]").config, compose([])
    monkeypatch.setattr(presentation, "can_write_mp4", lambda: False)
    assert video_formats(default) == ["gif"]
    with pytest.raises(SettingError, match=r"^evaluation\.video_formats names mp4, which needs ffmpeg\. Fix: pip install "
                                           r"imageio-ffmpeg, or evaluation\.video_formats=\[gif\]$"):
        video_formats(asked)
    monkeypatch.setattr(presentation, "can_write_mp4", lambda: True)
    assert video_formats(default) == video_formats(asked) == ["gif", "mp4"]

    def fails(*_: Any) -> None:
        raise RuntimeError("Unknown encoder 'libx264'")

    monkeypatch.setitem(presentation.FORMATS, "mp4", fails)
    run = shown(None, "evaluation.video_formats=[gif,mp4]")
    present(run, console)
    assert (run.folder / "episodes.gif").exists()
    assert [warning.split(". Fix")[0] for warning in console.warnings] == [
        "warning: episodes.mp4 was not made: RuntimeError: Unknown encoder 'libx264'"]
