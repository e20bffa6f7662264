"""Sweeps: the combinations, their labels, and the errors for invalid sweeps."""

from __future__ import annotations

import pytest

from ami.config.sweep import combinations, jobs
from ami.errors import SettingError


def test_labels_hold_the_swept_overrides() -> None:
    found = combinations(["planner=cem,none", "world.door=random", "planner.horizon=range(2,6,2)"])
    assert [one.label for one in found] == ["planner=cem planner.horizon=2", "planner=cem planner.horizon=4",
                                            "planner=none planner.horizon=2", "planner=none planner.horizon=4"]
    assert found[1].overrides == ("planner=cem", "world.door=random", "planner.horizon=4")


def test_fixed_overrides_stay_as_written() -> None:
    fixed = ["~graph.memory.surprise", "+graph.extra={state: world_model.state}", "experiment=[quick,ema]", "store='a b'"]
    assert combinations([*fixed, "seed=0,1"])[1].overrides == (*fixed, "seed=1")


def test_no_experiment_is_one_side_of_a_comparison() -> None:
    found = combinations(["experiment=null,no_critic", "evaluation.manifest_hash=null,ab"])
    assert found[0].label == "experiment=null evaluation.manifest_hash=null"
    assert found[0].overrides == ("evaluation.manifest_hash=null",)


@pytest.mark.parametrize(("overrides", "sentence"), [
    ([], "nothing to compare in ''"),
    (["planner=cem"], "nothing to compare in 'planner=cem': expected a key with several values, such as"),
    (["planner=cem,cem"], "'planner=cem' occurs twice. Fix: name each value once"),
    (["planner=choice(cem)"], "'planner=cem' is a single variant: expected two or more"),
    (["planner=glob(*)"], r"'planner=glob\(\*\)' does not list its values: expected them one by one"),
    (["planner.horizon=interval(2,4)"], "does not list its values"),
    (["planner=cem,"], "cannot read the override 'planner=cem,': expected `key=value`, `key=one,other`"),
])
def test_invalid_sweeps_are_refused(overrides: list[str], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        combinations(overrides)


def test_a_multirun_without_a_sweep_is_one_job() -> None:
    assert jobs(["seed=3"]) == [["++seed=3"]] or jobs(["seed=3"]) == [["seed=3"]]
    assert len(jobs(["seed=1,2", "planner.horizon=2,4"])) == 4
