"""Planning budget: plans that exceed memory or take years are refused before any work; the error names the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami.config.compose import compose, to_graph
from ami.errors import SettingError
from ami.evaluation.manifest import Manifest
from ami.session.planning_budget import check_duration, check_plans
from ami.session.run import run
from ami.storage import limits


@pytest.mark.parametrize(("override", "words"), [
    ("planner.num_candidates=10000000", "planner.num_candidates is 10000000: its data need "),
    ("planner.horizon=10000000", "planner.horizon is 10000000: its data need "),
])
def test_candidates_larger_than_memory_are_refused_before_any_work(override: str, words: str, in_folder: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "memory", lambda: 16e9)
    with pytest.raises(SettingError) as refused:
        run(compose([override, "runtime=local"]))
    assert str(refused.value).startswith(words)
    assert str(refused.value).endswith("16 GB are available. Fix: a smaller planner.num_candidates, planner.horizon or "
                                       "evaluation.batch")
    assert not any(in_folder.iterdir())


def test_estimate_grows_with_pairs_batch_and_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    def needed(*overrides: str) -> float:
        seen: list[float] = []
        monkeypatch.setattr("ami.session.planning_budget.check_memory", lambda setting, value, size, fix: seen.append(size))
        config = compose(["planner.num_candidates=10", "planner.horizon=2", *overrides])
        check_plans(config, to_graph(config))
        return seen[0]

    one = needed("evaluation.pairs=1")
    assert needed("evaluation.pairs=8", "evaluation.batch=4") == 4 * one
    assert needed("evaluation.pairs=8", "evaluation.batch=4", "agents=2") == 8 * one
    assert needed("evaluation.pairs=8", "evaluation.batch=4", "agents=9") == 8 * one, "two waves keep two agents busy"


def test_evaluation_of_days_gives_a_warning_and_of_years_an_error() -> None:
    config = compose(["evaluation.batch=1", "evaluation.pairs=2", "world.max_episode_steps=100"])
    graph = to_graph(config)
    manifest = Manifest("x", {}, 0, ({"kind": "a", "seed": 1}, {"kind": "a", "seed": 2}))
    assert check_duration(config, graph, manifest, 0.1) is None
    assert check_duration(config, graph, manifest, 8640.0) == (
        "evaluation.pairs is 2: that takes about 20 days on this machine")
    with pytest.raises(SettingError, match=r"about 20 years on this machine\. Fix: fewer pairs, shorter episodes"):
        check_duration(config, graph, manifest, 365 * 8640.0)
