"""A comparison from the command to its files, interrupted and resumed, and refusals before any work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ami
from ami.cli.main import main
from ami.comparison.compare import Comparison
from ami.errors import SettingError, UnknownName

SMALL = ["learning.collect.episodes=12", "learning.collect.batch=12", "learning.stages.model.steps=20",
         "learning.stages.model.batch=8", "learning.stages.critic.steps=20", "learning.stages.critic.batch=8",
         "evaluation.pairs=3", "evaluation.batch=3"]
SWEEP = "planner=cem,random_shooting,none"
LABELS = ["planner=cem", "planner=random_shooting", "planner=none"]


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name.split(".")[0] + path.name[-7:-5]: json.loads(path.read_text())
            for path in (folder / "records").iterdir()}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison interrupted after its first record and finished by the same command."""
    store = tmp_path_factory.mktemp("story")
    words = ["compare", SWEEP, *SMALL, "--seeds", "0,1", f"store={store}", "--folder", str(store / "it")]
    process = subprocess.Popen([sys.executable, "-m", "ami", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list((store / "it").glob("records/*.json")):
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < deadline, "no record appeared"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130 and "Traceback" not in printed, printed
    done = {path: path.stat().st_mtime_ns for path in (store / "it" / "records").iterdir()}
    assert 0 < len(done) < 6 and not (store / "it" / "summary.json").exists()
    assert all(json.loads(path.read_text())["evaluation"]["outcomes"] for path in done)
    assert main(words) == 0
    assert all(path.stat().st_mtime_ns == when for path, when in done.items()), "what was finished was done again"
    return store


def test_a_comparison_opened_as_a_run_is_refused_with_its_variants(
        story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(story / "it")]) == 2
    first, *variants = capsys.readouterr().err.splitlines()
    assert first == (f"ami: {story / 'it'} holds a comparison, which keeps every outcome but no run: expected a run's "
                     "folder. Fix: run one variant, and open the folder that it prints:")
    assert variants[0] == f"  ami run planner=cem {' '.join(SMALL)} store={story} seed=0 trace.level=boundary"
    assert [line.split()[2] for line in variants] == LABELS


def test_folder_is_complete_without_partial_files(story: Path) -> None:
    assert {path.name for path in (story / "it").iterdir()} == {"comparison.json", "records", "summary.json",
                                                                "comparison.csv", "comparison.png", "mlflow.json"}
    assert len(list((story / "it" / "records").iterdir())) == 6 and not list(story.rglob("*.tmp"))


def test_summary_keys_and_values(story: Path) -> None:
    summary = json.loads((story / "it" / "summary.json").read_text())
    assert list(summary["variants"]) == LABELS and summary["against"] == "planner=cem" and summary["seeds"] == [0, 1]
    for label, found in summary["variants"].items():
        assert set(found["kinds"]) == {"same_room", "across"}
        assert all(figure["n"] == 6 and ("success" in (figure["test"] or {})) == (label != "planner=cem")
                   for figure in found["kinds"].values())
    assert summary["variants"]["planner=cem"]["model_steps_per_plan"] == 256
    assert summary["variants"]["planner=none"]["model_steps_per_plan"] == 0


def test_equal_trainings_run_once(story: Path) -> None:
    assert len(list((story / "trained").iterdir())) == 2, "one agent per seed, whatever its planner"


def test_mlflow_has_a_parent_with_a_child_per_variant(story: Path) -> None:
    import sqlite3

    remembered = json.loads((story / "it" / "mlflow.json").read_text())
    with sqlite3.connect(story / "mlflow.db") as database:
        parents = dict(database.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'").fetchall())
        figures = database.execute("select count(*) from metrics where run_uuid = ? and key like '%success'",
                                   [remembered["children"]["planner=none"]]).fetchone()
    assert list(remembered["children"]) == LABELS
    assert parents == dict.fromkeys(remembered["children"].values(), remembered["run_id"])
    assert figures[0] >= 2


def test_ray_tasks_give_equal_results(story: Path, tmp_path: Path, ray_cluster: None) -> None:
    result = ami.compare([SWEEP, *SMALL, f"store={tmp_path}"], seeds=(1,), parallel=2, folder=tmp_path / "parallel")
    assert isinstance(result, Comparison) and list(result.rows) == LABELS
    assert len(list((tmp_path / "trained").iterdir())) == 1, "three parallel variants must share one training"
    one, other = records(tmp_path / "parallel"), records(story / "it")
    assert len(one) == 3
    for name, record in one.items():
        assert record["evaluation"]["outcomes"] == other[name]["evaluation"]["outcomes"]
    assert result.table().row_count == 3 and result.csv.exists() and result.plot.exists()


def test_another_comparison_is_refused_with_the_difference(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = [f"store={story}", "--folder", str(story / "it")]
    assert main(["compare", SWEEP, *SMALL, "actor.num_steps=1", "cost.objective=paper_sum", "--seeds", "0,2", *here]) == 2
    printed = capsys.readouterr().err
    assert "holds another comparison: seeds was [0, 1] and is now [0, 2]" in printed
    assert 'planner=cem.agent.nodes.cost.objective was "path" and is now "paper_sum"' in printed
    assert "Fix: another --folder" in printed
    assert main(["compare", "planner=cem,none", *SMALL, "--seeds", "0,1", *here]) == 2
    assert "it has planner=random_shooting, which is not requested now" in capsys.readouterr().err


def test_folder_with_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingError, match=r"is not empty and holds no comparison. Fix: another --folder"):
        ami.compare(["planner=cem,none", *SMALL, f"store={tmp_path / 'runs'}"], folder=tmp_path)


def test_all_refused_variants_are_reported_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as error:
        ami.compare(["planner=cem,gem", "planner.horizon=4,0", *SMALL, f"store={tmp_path}"])
    assert "3 of 4 variants are refused:" in str(error.value)
    assert "planner=gem planner.horizon=4: unknown planner 'gem': did you mean 'cem'?" in str(error.value)
    assert "planner=cem planner.horizon=0: the graph was refused" in str(error.value)
    assert "--skip-refused" in str(error.value) and not list(tmp_path.iterdir())


def test_stage_without_parameters_is_reported_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"world_model=simulator: learning\.stages\.model\.train .*nothing to learn"):
        ami.compare(["world_model=jepa,simulator", "perception=identity", "world.observe=state", f"store={tmp_path}"])
    assert not list(tmp_path.iterdir())


def test_plot_and_mlflow_faults_are_warnings(story: Path, monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*given: object) -> None:
        raise ValueError("no font")

    monkeypatch.setattr("ami.comparison.compare.plot_comparison", fail)
    monkeypatch.setattr("ami.tracking.mlflow_runs.store_family", fail)
    assert main(["compare", SWEEP, *SMALL, "--seeds", "0,1", f"store={story}", "--folder", str(story / "it")]) == 0
    printed = capsys.readouterr().out
    fix = "Fix: repeat the command, which finds every record and recreates it"
    assert f"warning: comparison.png was not made: ValueError: no font. {fix}" in printed
    assert f"warning: the comparison is not in MLflow: ValueError: no font. {fix}" in printed


def test_a_refused_variant_can_be_a_row(story: Path) -> None:
    result = ami.compare(["planner=cem,gem,none", *SMALL, f"store={story}"], seeds=[0], skip_refused=True,
                         against="planner=none")
    assert list(result.rows) == ["planner=cem", "planner=gem", "planner=none"]
    assert result.rows["planner=gem"] == {"refused": "unknown planner 'gem': did you mean 'cem'?"}
    assert result.rows["planner=none"]["kinds"]["across"]["test"] is None
    assert result.folder.name.startswith("compare_planner_")


def test_failed_variant_is_reported_or_a_row(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (story / "weary.py").write_text(
        "from ami.errors import SettingError\nfrom modules.planner.cem import CEM\n\n\nclass Weary(CEM):\n    ticks = 0\n\n"
        "    def step(self, **inputs):\n        Weary.ticks += 1\n        if Weary.ticks > 9:\n"
        "            raise SettingError('too weary to go on')\n        return super().step(**inputs)\n")
    monkeypatch.syspath_prepend(story)
    question = ["planner._target_=modules.planner.cem.CEM,weary.Weary", *SMALL, f"store={story}"]
    with pytest.raises(SettingError, match=r"1 of 2 variants failed:\n  planner\._target_=weary\.Weary: it failed "
                                           r"with seed 0: too weary to go on\nFinished records are kept"):
        ami.compare(question, seeds=[0], allow=["weary."])
    result = ami.compare(question, seeds=[0], allow=["weary."], skip_refused=True)
    assert "too weary" in result.rows["planner._target_=weary.Weary"]["refused"]


@pytest.mark.parametrize(("words", "sentence"), [
    (["planner=cem"], "nothing to compare in 'planner=cem'"),
    (["planner=cem,none", "--seeds", "a"], "--seeds is 'a': expected whole numbers, --seeds 0,1,2"),
    (["planner=cem,none", "--seeds", "1,1"], "--seeds is 1, 1: expected different whole numbers, 0 or more"),
    (["planner=cem,none", "--seeds", "99999999999999999999,"],
     "ami: --seeds names 99999999999999999999: expected whole numbers from 0 to 9223372036854775807\n"),
    (["planner=cem,none", "--parallel", "-1"], "--parallel is -1: expected 0 or more"),
    (["planner=cem,none", "--agianst", "x"], "unknown flag '--agianst': did you mean '--against'?"),
    (["planner=cem,none", "seed=1"], "'seed=1': every variant is trained with the same seeds. Fix: --seeds 0,1,2"),
    (["planner=cem,none", "--multirun"], "unknown flag '--multirun'"),
])
def test_wrong_arguments(words: list[str], sentence: str, in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(in_folder.iterdir())


def test_an_unknown_reference_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"unknown variant 'planner=non': did you mean 'planner=none'\?"):
        ami.compare(["planner=cem,none"], against="planner=non")
