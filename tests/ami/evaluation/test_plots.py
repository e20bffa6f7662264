import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ami.evaluation.plots import _curves, _smoothed, plot_learning, plot_results


def test_success_is_plotted_for_all_evaluated_agents(tmp_path: Path) -> None:
    kinds = {kind: {"n": 200, "success": 0.985, "low": 0.957, "high": 0.995, "mean_steps": 9.0}
             for kind in ("same_room", "across")}
    few = {"agent": kinds, "manifest_hash": "00ff", "seed": 0}
    plot_results(few, tmp_path / "few.png")
    plot_results(few | {"random": kinds, "oracle": kinds}, tmp_path / "more.png")
    returns = {kind: {**figures, "success": None, "low": None, "high": None, "return": -150.0, "return_low": -160.0,
                      "return_high": -140.0} for kind, figures in kinds.items()}
    plot_results(few | {"agent": returns}, tmp_path / "returns.png")
    with Image.open(tmp_path / "few.png") as one, Image.open(tmp_path / "more.png") as two:
        assert one.format == "PNG" and two.width > one.width


@pytest.mark.parametrize("rows", [
    [{"stage": "world_model", "step": 0.0, "loss": 2.0}, {"stage": "world_model", "step": 20.0, "loss": 1.0, "r2": 0.9},
     {"stage": "critic", "step": 0.0, "loss": -1.0}],
    [{"step": 0.0, "loss": 1.0}], [],
    [{"stage": "model", "step": float(step), "loss": math.inf if step == 9 else 1.0, "success": 0.5} for step in range(40)]])
def test_learning_plot_accepts_any_rows(tmp_path: Path, rows: list[dict]) -> None:
    plot_learning(rows, tmp_path / "learning.png")
    with Image.open(tmp_path / "learning.png") as plot:
        assert plot.format == "PNG"


def test_stages_follow_each_other_and_a_loss_has_a_gap_between_them() -> None:
    rows = [{"stage": "collect", "step": 0.0, "return": 1.0},
            {"stage": "model", "step": 0.0, "loss": 2.0, "success": 0.0}, {"stage": "model", "step": 20.0, "loss": 1.0},
            {"stage": "critic", "step": 0.0, "loss": 9.0, "success": 0.5}, {"stage": "critic", "step": 30.0, "loss": 8.0},
            {"stage": "collect", "step": 1.0, "return": 2.0}, {"stage": "model", "step": 0.0, "loss": 0.5}]
    curves, begins, end = _curves(rows)
    assert begins == [(0.0, "model"), (20.0, "critic"), (50.0, "model")] and end == 50
    assert curves["loss"][0].tolist() == [0, 20, 20, 50, 50]
    assert curves["success"][0].tolist() == [0, 20] and curves["return"][0].tolist() == [0, 50]


def test_stages_that_learn_at_once_share_their_steps() -> None:
    rows = [{"stage": stage, "step": 20.0 * number, "loss": loss} for number in range(3)
            for stage, loss in (("model", 2.0), ("critic", 9.0))]
    acted = {"stage": "collect", "step": 1.0, "lag": 0.0, "world_steps": 64.0, "replay_ratio": 0.1}
    curves, begins, end = _curves([*rows[:2], acted, *rows[2:]])
    assert begins == [(0.0, "model"), (0.0, "critic")] and end == 40
    assert curves["model loss"][0].tolist() == curves["critic loss"][0].tolist() == [0, 20, 40]
    assert curves["world_steps"][0].tolist() == [0] and "replay_ratio" not in curves


def test_smoothing_restarts_after_a_gap() -> None:
    values = np.array([4.0] * 50 + [np.nan] + [1.0] * 50)
    smooth = _smoothed(values)
    assert np.allclose(smooth[:50], 4) and np.isnan(smooth[50]) and np.allclose(smooth[51:], 1)
    noisy = np.tile([0.0, 2.0], 100)
    assert abs(_smoothed(noisy)[-20:] - 1).max() < 0.5
