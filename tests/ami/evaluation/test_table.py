import io
import json

import pytest
from rich.console import Console

from ami.evaluation.outcomes import Evaluation, Outcome
from ami.evaluation.table import judged_by, percent, results_table, summary


def evaluation(near: int, far: int, steps: int = 256) -> Evaluation:
    outcomes = ([Outcome("same_room", i < near, 6, float(i < near)) for i in range(200)]
                + [Outcome("across", i < far, 14, float(i < far)) for i in range(200)])
    return Evaluation(tuple(outcomes), decisions=4000, plans=4000, model_steps=4000 * steps, seconds=8.0)


@pytest.fixture
def figures() -> dict:
    evaluations = {"agent": evaluation(200, 197), "random": evaluation(40, 0, 0), "oracle": evaluation(200, 200)}
    return summary(evaluations, manifest_hash="00ff00ff00ff00ff", seed=7, learning_seconds=61.5, trace_digest="abc")


def test_summary_keys_and_values(figures: dict) -> None:
    assert json.loads(json.dumps(figures)) == figures
    assert {name: figures[name] for name in ("model_steps_per_plan", "ms_per_decision", "learning_seconds", "trace_digest",
                                             "manifest_hash", "seed")} == {
        "model_steps_per_plan": 256.0, "ms_per_decision": 2.0, "learning_seconds": 61.5, "trace_digest": "abc",
        "manifest_hash": "00ff00ff00ff00ff", "seed": 7}
    assert set(figures["agent"]) == {"same_room", "across"}
    assert figures["agent"]["across"] == {"n": 200, "success": 0.985, "low": pytest.approx(0.9568, abs=1e-4),
                                          "high": pytest.approx(0.9949, abs=1e-4), "mean_steps": 14.0,
                                          "return": 0.985, "return_low": pytest.approx(0.9568, abs=1e-4),
                                          "return_high": pytest.approx(0.9949, abs=1e-4)}


def test_every_baseline_is_tested_against_the_agent_on_the_same_pairs(figures: dict) -> None:
    assert figures["details"]["oracle"]["paired_with_agent"]["across"] == {
        "only_agent": 0, "only_oracle": 3, "p": pytest.approx(0.25),
        "return": {"difference": pytest.approx(-0.015), "low": pytest.approx(-0.0432, abs=1e-4),
                   "high": pytest.approx(0.0063, abs=1e-4), "p": pytest.approx(0.25), "test": "McNemar"}}
    assert "paired_with_agent" not in figures["details"]["agent"]


def test_table_shows_the_summary(figures: dict) -> None:
    console = Console(width=100, file=io.StringIO())
    console.print(results_table(figures))
    text = console.file.getvalue()
    rows = {line.split("  ")[0].strip(): line for line in text.splitlines()}
    assert "98.5 % [95.7, 99.5]" in rows["agent"] and "100 % [98.1, 100]" in rows["agent"]
    assert " 256 " in rows["agent"] and rows["agent"].rstrip().endswith("2.00")
    assert "0.0 % [0.0, 1.9]" in rows["random"] and "–" in rows["random"]
    assert "straight line" not in rows
    assert "Success on 200 same room, 200 across pairs, with 95 % intervals" in text
    assert "manifest 00ff00ff00ff00ff, seed 7" in text


def test_a_rate_is_written_with_its_interval() -> None:
    assert percent({"success": 0.985, "low": 0.964, "high": 0.994}) == "98.5 % [96.4, 99.4]"


def returns_of(agent: list[float], random: list[float], known: bool) -> dict:
    evaluations = {
        name: Evaluation(tuple(Outcome("episode", r > 0 if known else None, 9, r) for r in returns), 90, 0, 0, 1.0)
        for name, returns in (("agent", agent), ("random", random))}
    return summary(evaluations, manifest_hash="00ff", seed=0)


def test_mean_return_without_success() -> None:
    figures = returns_of([-150.0, -140.0, -160.0], [-1200.0, -1100.0, -1000.0], known=False)
    assert judged_by(figures) == ("return",)
    console = Console(width=80, file=io.StringIO())
    console.print(results_table(figures))
    text = " ".join(console.file.getvalue().split())
    assert "Mean return on 3 episode pairs, with 95 % intervals" in text
    assert "-150 [-160, -140]" in text and "%" not in text.split("intervals")[1]
    paired = figures["details"]["random"]["paired_with_agent"]["episode"]
    assert set(paired) == {"return"} and paired["return"]["difference"] == pytest.approx(950)
    assert paired["return"]["p"] == pytest.approx(0.25)


def test_return_other_than_success_has_its_own_column() -> None:
    figures = returns_of([0.9, 0.8, 0.0], [0.0, 0.0, 0.7], known=True)
    assert judged_by(figures) == ("success", "return")
    console = Console(width=80, file=io.StringIO())
    console.print(results_table(figures))
    text = console.file.getvalue()
    assert "Success and mean return" in text and "66.7 %" in text and "0.5667 [" in text
