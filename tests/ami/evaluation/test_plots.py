from pathlib import Path

import pytest
from PIL import Image

from ami.evaluation.plots import plot_learning, plot_results


def test_success_is_plotted_for_those_who_were_judged(tmp_path: Path) -> None:
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
    [{"step": 0.0, "loss": 1.0}], []])
def test_learning_is_plotted_whatever_was_logged(tmp_path: Path, rows: list[dict]) -> None:
    plot_learning(rows, tmp_path / "learning.png")
    with Image.open(tmp_path / "learning.png") as plot:
        assert plot.format == "PNG"
