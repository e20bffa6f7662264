"""Figures of a comparison: crossed over seeds, tested on the same pairs only, corrected for multiple tests."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from ami.comparison.figures import VariantResult, figures
from ami.comparison.plot import plot_comparison
from ami.comparison.table import COLUMNS, compare_csv, compare_table, p_value
from ami.evaluation.outcomes import Evaluation, Outcome
from ami.evaluation.statistics import holm, paired_test, wilson


def results(*solved: str, pairs: str = "same") -> VariantResult:
    """One seed per text; a 1 is a solved pair."""
    def evaluation(text: str) -> Evaluation:
        outcomes = tuple(Outcome("near", digit == "1", 4, float(digit)) for digit in text)
        return Evaluation(outcomes, len(text), len(text), 256 * len(text), 0.001 * len(text))

    return VariantResult({seed: evaluation(text) for seed, text in enumerate(solved)},
                 dict.fromkeys(range(len(solved)), 60.0), pairs, "abcd")


@pytest.fixture
def summary() -> dict[str, object]:
    everyone = {"good": results("1111111111", "1111111111"), "bad": results("0000000000", "0000011111"),
                "elsewhere": results("1111111111", "0000000000", pairs="other")}
    return {"seeds": [0, 1], "against": "good", "variants": figures(everyone, {"broken": "no such [planner]\nmore"}, "good")}


def test_seed_is_the_unit_of_an_interval(summary: dict[str, object]) -> None:
    bad = summary["variants"]["bad"]["kinds"]["near"]  # type: ignore[index]
    assert (bad["n"], bad["success"]) == (20, 0.25)
    assert bad["seeds"] == {"0": {"success": 0.0, "mean_steps": None, "return": 0.0},
                            "1": {"success": 0.5, "mean_steps": 4.0, "return": 0.5}}
    low, high = wilson(5, 20)
    assert bad["low"] < low and bad["high"] > high  # one seed solved nothing, the other one half
    assert (bad["return_low"], bad["return_high"]) == (bad["low"], bad["high"])  # one fact, one interval


def test_variants_are_tested_against_the_reference_pair_by_pair(summary: dict[str, object]) -> None:
    variants: dict = summary["variants"]  # type: ignore[assignment]
    assert variants["good"]["kinds"]["near"]["test"] is None
    test = variants["bad"]["kinds"]["near"]["test"]["success"]
    assert test["p"] > 0.05 > paired_test([False] * 15 + [True] * 5, [True] * 20).p and test["test"] == "crossed"
    assert (test["only_this"], test["only_other"], test["difference"]) == (0, 15, -0.75)
    assert -1 <= test["low"] < -0.75 < test["high"] <= 1


@pytest.mark.parametrize("scale", [(0.0, 1.0), (-100.0, 5.0), (2.0, 1.0)])
def test_return_equal_to_success_has_its_test(scale: tuple[float, float]) -> None:
    def of(text: str) -> VariantResult:
        outcomes = tuple(Outcome("near", digit == "1", 4, scale[digit == "1"]) for digit in text)
        return VariantResult({0: Evaluation(outcomes, 9, 0, 0, 0.1)}, {0: 0.0}, "same", "abcd")

    test = figures({"a": of("1111110111"), "b": of("0001110011")}, {}, "a")["b"]["kinds"]["near"]["test"]
    assert test["success"]["p"] == test["return"]["p"] == paired_test([False] * 4, [True] * 4).p == 0.125
    assert test["success"]["p_holm"] == test["return"]["p_holm"]
    ends = sorted((scale[1] - scale[0]) * test["success"][end] for end in ("low", "high"))
    assert [test["return"]["low"], test["return"]["high"]] == pytest.approx(ends)


def test_other_pairs_are_not_tested_with_a_reason(summary: dict[str, object]) -> None:
    assert summary["variants"]["elsewhere"]["kinds"]["near"]["test"] == {  # type: ignore[index]
        "reason": "other pairs: its episodes have other starts or goals"}


def test_many_tests_are_corrected() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2] and holm([]) == []


def test_table_shows_all_figures(summary: dict[str, object]) -> None:
    console = Console(width=100, record=True, quiet=False, file=io.StringIO())
    console.print(compare_table(summary))
    text = console.export_text()
    assert all(word in text for word in ("good", "reference", "p = 0.2", "25.0 %", "256", "20 near episodes each",
                                         "elsewhere: other pairs", "broken: refused: no such [planner]", "(Holm)",
                                         "The unit is the training seed"))
    assert p_value(0.0313) == "p = 0.031"


def test_the_csv_has_a_column_per_swept_key_and_three_per_metric(summary: dict[str, object]) -> None:
    swept = {"good": {"planner": "cem", "world.noise": "tv"}, "bad": {"planner": "none", "world.noise": "tv"}}
    variants: dict = summary["variants"]  # type: ignore[assignment]
    variants["good"]["kinds"]["near"]["metrics"] = {"cost.energy": {"mean": 2.0, "low": 1.0, "high": 3.0}}
    rows = list(csv.DictReader(io.StringIO(compare_csv({**summary, "swept": swept}))))
    assert list(rows[0])[:3] == ["variant", "planner", "world.noise"]
    good = next(row for row in rows if row["variant"] == "good" and row["seed"] == "all")
    assert (good["planner"], good["world.noise"], good["mean_steps"]) == ("cem", "tv", "4.0")
    assert (good["cost.energy"], good["cost.energy_low"], good["cost.energy_high"]) == ("2.0", "1.0", "3.0")


def test_the_csv_has_a_line_per_seed_too(summary: dict[str, object]) -> None:
    rows = list(csv.DictReader(io.StringIO(compare_csv(summary))))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["variant"], row["seed"], row["success"]) for row in rows if row["variant"] == "bad"] == [
        ("bad", "all", "0.25"), ("bad", "0", "0.0"), ("bad", "1", "0.5")]
    assert rows[0]["reason"].startswith("refused: no such")


def test_world_without_success_is_compared_by_returns() -> None:
    def scored(*returns: float) -> VariantResult:
        outcomes = tuple(Outcome("any", None, 9, ret) for ret in returns)
        return VariantResult({0: Evaluation(outcomes, 9, 0, 0, 0.1)}, {0: 0.0}, "same", "abcd")

    variants = figures({"low": scored(*range(10)), "high": scored(*range(20, 30))}, {}, "low")
    test = variants["high"]["kinds"]["any"]["test"]
    assert "success" not in test and test["return"]["difference"] == 20 and test["return"]["p_holm"] < 0.01
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(compare_table({"seeds": [0], "against": "low", "variants": variants}))
    text = console.export_text()
    assert "The training seed is not varied: results hold for agents of seed 0" in " ".join(text.split())
    assert "Mean return over 1 training seed" in text and "24.5 [" in text and "signed-rank" in text


def test_plot_is_an_image(summary: dict[str, object], tmp_path: Path) -> None:
    plot_comparison(summary, tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
