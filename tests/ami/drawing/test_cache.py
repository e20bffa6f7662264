"""Known graphs are drawn without PyTorch, and never when something that they depend on has changed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ami.config.compose
from ami.cli.main import main
from ami.drawing import cache
from ami.drawing.description import Description
from ami.storage.schema import Mismatch
from tests.ami.toys import graph

HOME = Path(ami.config.compose.__file__).parents[2]
PLANNER = """
from dataclasses import replace
from modules.planner.cem import CEM
from own_layers import EXTRA

class Mine(CEM):
    outputs = {**CEM.outputs, **{name: CEM.outputs["plan"] for name in EXTRA}}

    def step(self, **inputs):
        return {**super().step(**inputs), **{name: None for name in EXTRA}}
"""
pytestmark = pytest.mark.usefixtures("keep_umask")


@pytest.fixture
def store(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("AMI_STORE", raising=False)
    (in_folder / "runs").mkdir()
    return in_folder / "runs"


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry per composition of a configuration."""
    seen: list[int] = []
    compose = ami.config.compose.compose

    def counted(*given: Any, **named: Any) -> ami.config.compose.Config:
        seen.append(1)
        return compose(*given, **named)

    monkeypatch.setattr(ami.config.compose, "compose", counted)
    return seen


@pytest.fixture
def own(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's planner, and a file that it imports."""
    folder = in_folder / "own"
    folder.mkdir()
    (folder / "own_planners.py").write_text(PLANNER)
    (folder / "own_layers.py").write_text("EXTRA = ()\n")
    monkeypatch.syspath_prepend(folder)
    yield folder
    forget()


def forget() -> None:
    for name in ("own_planners", "own_layers", "own_worlds"):
        sys.modules.pop(name, None)


def drawing(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the output of `ami graph` with its notes and warnings."""
    assert main(["graph", *words]) == 0
    return "".join(capsys.readouterr())


def entry(store: Path) -> Path:
    (file,) = (file for file in (store / "cache" / "graphs").iterdir() if file.name != cache.FILES)
    return file


def test_a_known_graph_is_drawn_without_composing_it(store: Path, composed: list[int],
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    words = ["world=gym", "world.id=CartPole-v1"]
    first = drawing(capsys, *words)
    assert "note: fitted to the world:" in first
    assert drawing(capsys, *words) == first and len(composed) == 1
    assert drawing(capsys, *words, "--format", "mermaid") != first and len(composed) == 1
    assert drawing(capsys, "+graph.planner.calls.memory=memory").startswith("firing order") and len(composed) == 2
    assert "warning: planner.calls.memory has no effect" in drawing(capsys, "+graph.planner.calls.memory=memory")
    assert len(composed) == 2


def test_a_known_graph_needs_no_heavy_package(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = drawing(capsys, "--format", "svg")
    code = ("import sys; from ami.cli.main import main; main(['graph', '--format', 'svg']); "
            "print([m for m in ('torch', 'numpy', 'hydra', 'gymnasium', 'networkx') if m in sys.modules], file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(HOME)})
    assert (done.stdout, done.stderr) == (expected, "[]\n")


def test_an_edited_port_is_drawn(store: Path, own: Path, composed: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["planner._target_=own_planners.Mine", "graph.actor.plan=planner.plan", "--allow", "own_planners."]
    before = drawing(capsys, *words)
    assert "plan  ← planner.plan  (B, 4, 2)" in before
    text = PLANNER.replace("outputs = {**CEM.outputs,", "outputs = {**CEM.outputs, "
                           "'plan': replace(CEM.outputs['plan'], dims=('H', 1, 'U')),")
    (own / "own_planners.py").write_text(text)
    forget()
    assert main(["graph", *words]) == 2  # the port does not fit the actor's
    assert "wrong shape along planner.plan → actor.plan" in capsys.readouterr().err
    (own / "own_planners.py").write_text(PLANNER)
    forget()
    assert drawing(capsys, *words) == before


def test_what_a_module_imports_counts(store: Path, own: Path, composed: list[int],
                                      capsys: pytest.CaptureFixture[str]) -> None:
    words = ["planner._target_=own_planners.Mine", "--allow", "own_planners."]
    for extra, times in (("()", 1), ("()", 1), ("('second',)", 2), ("('second',)", 2)):
        if (own / "own_layers.py").read_text() != f"EXTRA = {extra}\n":
            (own / "own_layers.py").write_text(f"EXTRA = {extra}\n")
        forget()
        drawing(capsys, *words)
        assert len(composed) == times


WORLD = """
from pathlib import Path
import gymnasium
from gymnasium.spaces import Box
from own_layers import EXTRA

class World(gymnasium.Env):
    action_space = Box(-1, 1, (2,))

    def __init__(self, level):
        self.observation_space = Box(-1, 1, (int(Path(level).read_text()) + len(EXTRA),))

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}
"""


def test_the_code_of_a_world_and_the_files_in_its_settings_count(store: Path, own: Path, composed: list[int],
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    (own / "own_worlds.py").write_text(WORLD)
    level = Path("level.txt")
    level.write_text("5")
    words = ["world=gym", "world.entry_point=own_worlds:World", "world.level=level.txt", "--allow", "own_worlds."]
    for edit, size in ((None, 5), (None, 5), (own / "own_layers.py", 6), (None, 6), (level, 8), (None, 8)):
        if edit is not None:
            edit.write_text("7" if edit == level else "EXTRA = (1,)\n")
            forget()
        assert f"observation ← world.observation  (B, {size})" in drawing(capsys, *words)
    assert len(composed) == 3


def test_own_options_count(store: Path, in_folder: Path, composed: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    option = in_folder / "mine" / "planner" / "short.yaml"
    option.parent.mkdir(parents=True)
    for horizon in (2, 2, 13):
        text = f"_target_: modules.planner.cem.CEM\nhorizon: {horizon}\n"
        if not option.is_file() or option.read_text() != text:
            option.write_text(text)
        assert f"planner.plan  (B, {horizon}, 2)" in drawing(capsys, "planner=short", "--config-dir", "mine")
    assert len(composed) == 2


@pytest.mark.parametrize("words", [["graph.planner.device=auto"], ["hydra.searchpath=[]"]])
def test_a_graph_that_depends_on_the_machine_is_not_kept(words: list[str], store: Path, composed: list[int],
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    assert drawing(capsys, *words) == drawing(capsys, *words)
    assert len(composed) == 2


def test_a_refused_configuration_stays_refused(store: Path, own: Path, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    words = ["planner._target_=own_planners.Mine"]
    drawing(capsys, *words, "--allow", "own_planners.")
    monkeypatch.setenv("AMI_ALLOW", "own_planners.")
    drawing(capsys, *words)
    monkeypatch.delenv("AMI_ALLOW")
    assert main(["graph", *words]) == 2
    assert "`--allow own_planners.`" in capsys.readouterr().err
    assert main(["graph", "seed=1", "seed=2"]) == main(["graph", "seed=1", "seed=2"]) == 2


def _cut(text: str) -> str:
    return text[:-20]


def _foreign(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        content = json.loads(text)
        change(content["description"])
        return json.dumps(content)

    return changed


@pytest.mark.parametrize("damage", [
    _cut, lambda text: "", lambda text: "[" * 100_000,
    lambda text: '{"roots": ["a..b"], "files": [], "code": "", "description": 1}',
    lambda text: json.dumps({file: [*known[:3], ["a\0b"], ["/x\0"]] for file, known in json.loads(text).items()}),
    _foreign(lambda drawn: drawn["nodes"][0].update(title="\x1b[2Jgone")),
    _foreign(lambda drawn: drawn["nodes"][0].update(colour="red")),
    _foreign(lambda drawn: drawn["nodes"].reverse()),
    _foreign(lambda drawn: drawn["nodes"].clear()),
    _foreign(lambda drawn: drawn["nodes"].append(drawn["nodes"][0])),
    _foreign(lambda drawn: drawn["wires"][0].update(node="nobody")),
    _foreign(lambda drawn: drawn["wires"][0].update(port="nothing")),
    _foreign(lambda drawn: drawn["wires"][0].update(shape=[-1]))])
def test_a_damaged_or_foreign_entry_is_ignored(damage: Callable[[str], str], store: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    expected = drawing(capsys)
    file = entry(store)
    whole = file.read_text()
    for damaged in (file, file.parent / cache.FILES):
        with contextlib.suppress(KeyError, TypeError):  # a damage of the other file
            damaged.write_text(damage(damaged.read_text()))
    assert drawing(capsys) == expected
    assert file.read_text() == whole, "the entry is written again"


def test_an_entry_that_is_a_pipe_is_ignored(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = drawing(capsys)
    file = entry(store)
    file.unlink()
    os.mkfifo(file)
    assert drawing(capsys) == expected


def test_a_store_that_cannot_be_written_is_left_alone(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store / "cache").touch()  # permissions do not stop root
    assert drawing(capsys) == drawing(capsys)


def test_a_drawing_makes_no_store(in_folder: Path, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("AMI_STORE", raising=False)
    drawing(capsys)
    assert not list(in_folder.iterdir())


def test_only_some_graphs_are_kept(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cache, "MOST", 2)
    for seed in range(4):
        drawing(capsys, f"seed={seed}")
    assert len(list((store / "cache" / "graphs").iterdir())) <= 3


def test_a_description_is_read_as_it_was_written() -> None:
    described = Description.of(graph(head={"state": "eye.state", "calls": {"book": "book"}, "every": 2},
                                     hand={"plan": {"from": "head.plan", "cut": True, "init": float("inf")}}), ["a remark"])
    assert Description.from_plain(json.loads(json.dumps(described.to_plain()))) == described
    with pytest.raises(Mismatch, match="nodes is missing"):
        Description.from_plain({})
