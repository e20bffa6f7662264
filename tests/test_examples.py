"""The examples run as described in their README, with less training and fewer episodes."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
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


def test_examples_have_at_most_60_lines_of_python_and_40_of_readme() -> None:
    lines = [line for file in EXAMPLES.glob("*.py") for line in file.read_text().splitlines() if line.strip()]
    assert len(lines) <= 60
    readme = (EXAMPLES / "README.md").read_text()
    assert len(readme.splitlines()) <= 40 and f"in {len(lines)} lines of Python" in readme
    assert all(f"`{file.name}`" in readme for file in EXAMPLES.iterdir() if file.suffix in (".py", ".ipynb"))


def test_checks_of_the_readme_pass(here: Path) -> None:
    for words in re.findall(r"^ami (check .*)$", (here / "README.md").read_text(), re.MULTILINE):
        assert re.search(r"keeps (\d+) of the \1 promises", run(here, "-m", "ami", *words.split()))


def test_comparison_runs(here: Path) -> None:
    printed = run(here, "compare.py", *SHORT)
    with (here / printed.strip().splitlines()[-1]).open() as file:
        rows = [row for row in csv.DictReader(file) if row["seed"] == "all"]
    assert [row["variant"].rpartition(".")[2] for row in rows] == ["CEM", "Steady"]
    assert {(row["n"], row["model_steps_per_plan"]) for row in rows} == {("9", "256.0")}


def test_world_passes_gymnasiums_check_env(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium
    from gymnasium.utils.env_checker import check_env

    monkeypatch.syspath_prepend(here)
    check_env(gymnasium.make("my_world:Ice-v0").unwrapped, skip_render_check=True)


def test_notebook_cells_run(here: Path) -> None:
    short = ["agent=oracle", "runtime=local", "evaluation.pairs=3", "evaluation.baselines=[]", "evaluation.video=0"]
    run(here, "-m", "ami", "run", *short, "trace.level=boundary", "store=runs", "hydra.run.dir=runs/first")
    cells = [source for kind, source, _ in notebook() if kind == "code"]
    assert sum(cell.count('RUN = "runs/questions"') for cell in cells) == 1
    for number, cell in enumerate(cells):
        cells[number] = as_script(cell.replace('"runs/questions"', '"runs/first"'))
    (here / "cells.py").write_text("\n".join(cells))
    out = run(here, "-W", "error", "cells.py")
    assert re.search(r"^planner +\d+", out, re.MULTILINE) and "world_model.surprise" in out and "model steps" in out
    assert "different messages per message" in out


def notebook() -> Iterator[tuple[str, str, list[dict]]]:
    """Yield the cells of the notebook: kind, source, stored outputs."""
    for cell in json.loads((EXAMPLES / "questions.ipynb").read_text())["cells"]:
        yield cell["cell_type"], "".join(cell["source"]), cell.get("outputs", [])


def as_script(source: str) -> str:
    """Return a cell as a script that prints its last expression, as a notebook does."""
    tree = ast.parse(source)
    if isinstance(tree.body[-1], ast.Expr) and not source.endswith(";"):
        tree.body[-1] = ast.parse(f"print({ast.unparse(tree.body[-1])})").body[0]
    return ast.unparse(tree)


def test_notebook_has_stored_outputs() -> None:
    cells = [*notebook()]
    outputs = [output for kind, _, outputs in cells if kind == "code" for output in outputs]
    assert sum(1 for kind, source, _ in cells if kind == "markdown" and re.match(r"## \d\. .*\?", source)) == 5
    assert all(outputs for kind, _, outputs in cells if kind == "code"), "every code cell was run"
    shown = [kind for output in outputs for kind in output["data"]]
    assert shown.count("text/html") >= 5 and shown.count("image/png") == 2
    content = (EXAMPLES / "questions.ipynb").read_text()
    assert len(content) < 300_000 and not re.search(r"/(tmp|home|root|work|opt|Users)/", content)
