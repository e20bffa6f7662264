"""The examples do what their README says, with less learning and fewer episodes."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = ["evaluation.pairs=3", "learning.collect.episodes=12", "learning.collect.batch=12", "learning.stages.model.steps=20",
         "learning.stages.critic.steps=20", "store=runs"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    return tmp_path


def run(here: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f".{os.pathsep}{EXAMPLES.parent}"}
    done = subprocess.run([sys.executable, *words], cwd=here, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_planner_a_world_and_their_comparison_are_sixty_lines_of_python_and_forty_of_words() -> None:
    lines = [line for file in EXAMPLES.glob("*.py") for line in file.read_text().splitlines() if line.strip()]
    questions = [line for line in (EXAMPLES / "questions.py").read_text().splitlines() if line.strip()]
    assert len(lines) - len(questions) <= 60 and len(questions) <= 20
    readme = (EXAMPLES / "README.md").read_text()
    assert len(readme.splitlines()) <= 40 and f"in {len(lines)} lines of Python" in readme
    assert all(f"`{file.name}`" in readme for file in EXAMPLES.glob("*.py"))


def test_what_the_readme_asks_first_is_answered(here: Path) -> None:
    for words in re.findall(r"^ami (check .*)$", (here / "README.md").read_text(), re.MULTILINE):
        assert re.search(r"keeps (\d+) of the \1 promises", run(here, "-m", "ami.cli", *words.split()))


def test_the_comparison_compares(here: Path) -> None:
    said = run(here, "compare.py", *SHORT)
    with (here / said.strip().splitlines()[-1]).open() as file:
        rows = [row for row in csv.DictReader(file) if row["seed"] == "all"]
    assert [row["variant"].rpartition(".")[2] for row in rows] == ["CEM", "Steady"]
    assert {(row["n"], row["model_steps_per_plan"]) for row in rows} == {("9", "256.0")}


def test_gymnasium_itself_accepts_the_world(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    monkeypatch.syspath_prepend(here)
    check_env(gymnasium.make("my_world:Ice-v0").unwrapped, skip_render_check=True)


def test_the_questions_are_answered(here: Path) -> None:
    short = ["agent=oracle", "runtime=local", "evaluation.pairs=2", "evaluation.beside=[]", "evaluation.film=0"]
    run(here, "-m", "ami.cli", "run", *short, "store=runs", "hydra.run.dir=runs/first")
    said = run(here, "questions.py", "runs/first")
    assert [line[:2] for line in said.splitlines() if re.match(r"\d\. ", line)] == ["1.", "2.", "3.", "4.", "5."]
    assert re.search(r"^planner +\d+", said, re.MULTILINE) and "model steps" in said
