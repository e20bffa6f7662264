"""Code hash: it changes exactly with the files that a behaviour depends on, whatever is imported."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import gymnasium
import pytest

import ami
from ami.config.compose import Config, to_graph
from ami.envs.world import GymWorld
from ami.session.learn import key_of
from ami.session.plan import TrainingPlan
from ami.storage.code_hash import code_hash, depends_on
from ami.trace.provenance import code_of, engine_code

HOME = Path(ami.__file__).parent.parent


@pytest.fixture(scope="module")
def config() -> Config:
    """Compose a config and import all of its files before a copy shadows them."""
    composed = ami.compose()
    key_of(composed)
    return composed


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for package in ("ami", "modules", "worlds"):
        shutil.copytree(HOME / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def copy(tree: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of all code that shadows the installed one; the hash reads its files and imports nothing."""
    monkeypatch.setattr("ami.config.compose.check_shadowing", lambda: None)
    monkeypatch.syspath_prepend(str(tree))
    return tree


@pytest.fixture
def key(copy: Path, config: Config) -> str:
    return key_of(config)


@contextmanager
def edited(file: Path, text: str = "\nSPEED = 0.5\n") -> Iterator[None]:
    """Append a line to a file, or make the file, within the block."""
    before = file.read_bytes() if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((before or b"") + text.encode())
    yield
    file.unlink()
    if before is not None:
        file.write_bytes(before)


@pytest.mark.parametrize(("file", "changes"), [
    ("worlds/two_rooms_physics.py", True), ("worlds/two_rooms.py", True), ("worlds/__init__.py", True),
    ("worlds/layout.json", True), ("worlds/maps/small.npy", True),
    ("ami/envs/world.py", True), ("ami/envs/vector.py", True), ("ami/rng.py", True), ("ami/runtime/worker.py", True),
    ("ami/learning/sources/source.py", True), ("ami/learning/trainer.py", True), ("ami/blueprint/cost.py", True),
    ("modules/perception/conv.py", True), ("modules/nets.py", True), ("modules/actor/random.py", True),
    ("modules/cost/critic.py", True), ("worlds/minigrid_places.py", False), ("worlds/README.md", False),
    ("modules/planner/cem.py", False), ("modules/perception/vit.py", False), ("modules/cost/value.py", False),
    ("ami/cli/main.py", False), ("ami/cli/parsers.py", False), ("ami/errors.py", False), ("ami/terminal/console.py", False),
    ("ami/views/viewer.py", False), ("ami/views/page/viewer.js", False), ("ami/evaluation/video.py", False),
    ("ami/config/compose.py", False), ("ami/runtime/ray_actors.py", False), ("ami/session/monitor.py", False),
    ("ami/session/acting.py", False),
    ("ami/data/formats/npz.py", False), ("ami/data/read.py", True), ("ami/learning/optimisers.py", True),
])
def test_the_training_key_changes_with_its_dependencies(file: str, changes: bool, copy: Path, key: str,
                                                        config: Config) -> None:
    with edited(copy / file):
        assert (key_of(config) != key) is changes


def test_the_readers_of_files_count_for_learning_from_a_file(copy: Path, config: Config) -> None:
    plan = TrainingPlan.of(config, to_graph(config))
    assert plan is not None

    def key_of_file() -> str:
        return replace(plan, data=types.SimpleNamespace(key="a file")).key

    before = key_of_file()
    with edited(copy / "ami/data/formats/npz.py"):
        assert key_of_file() != before


def test_acting_counts_for_learning_while_acting(copy: Path) -> None:
    online = ami.compose(["learning=online"])
    before = key_of(online)
    with edited(copy / "ami/session/acting.py"):
        assert key_of(online) != before


def test_a_copy_has_the_same_key_whatever_else_is_imported(
        key: str, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "worlds.extra", types.ModuleType("worlds.extra"))
    monkeypatch.setitem(sys.modules, "ami.learning.extra", types.ModuleType("ami.learning.extra"))
    assert key_of(config) == key
    monkeypatch.undo()
    assert key_of(config) == key


def test_only_nodes_with_changed_code_have_another_hash(copy: Path, config: Config) -> None:
    graph = to_graph(config)
    before, engine = code_of(graph), engine_code()
    with edited(copy / "modules/planner/cem.py"), edited(copy / "worlds/two_rooms_physics.py"):
        after = code_of(graph)
        assert {node for node in after if after[node] != before[node]} == {"planner", "world"}
        assert engine_code() == engine
    with edited(copy / "ami/envs/vector.py"):
        assert engine_code() != engine and code_of(graph) == before


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a user's package: a world with a helper, a wrapper and a map; it is never imported."""
    files = {"__init__.py": "import gymnasium\n", "env.py": "from .inner.physics import SPEED\n",
             "inner/__init__.py": "", "inner/physics.py": "SPEED = 2.0\n", "late.py": "",
             "vector.py": "def f():\n    import own_world.late\n",
             "wrap.py": "import importlib\nimportlib.import_module('own_world.dynamic')\n", "dynamic.py": "",
             "types.py": "", "other.py": "", "map.txt": "###", "notes.md": "", "inner/weights.bin": "1",
             "typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import own_world.types\n"}
    for name, text in files.items():
        (tmp_path / "own_world" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own_world" / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    gymnasium.register("OwnWorld-v0", entry_point="own_world.env:Env", vector_entry_point="own_world.vector:Env",
                       kwargs={"speed": 1.0})
    yield tmp_path / "own_world"
    gymnasium.registry.pop("OwnWorld-v0")


@pytest.mark.parametrize(("file", "changes"), [
    ("env.py", True), ("inner/physics.py", True), ("inner/__init__.py", True), ("vector.py", True), ("late.py", True),
    ("wrap.py", True), ("dynamic.py", True), ("__init__.py", True), ("map.txt", True), ("inner/weights.bin", True),
    ("notes.md", False), ("other.py", False), ("types.py", False), ("runs/mlflow.db", False),
])
def test_a_users_world_counts_by_its_entry_points_wrappers_and_data(file: str, changes: bool, package: Path) -> None:
    settings = {"id": "OwnWorld-v0", "wrappers": [{"_target_": "own_world.wrap.Wrap", "size": 4}, "own_world.typed.W"]}
    before = code_hash(GymWorld.code_roots(settings))
    with edited(package / file):
        assert (code_hash(GymWorld.code_roots(settings)) != before) is changes


def test_registration_arguments_count(package: Path) -> None:
    before = code_hash(GymWorld.code_roots({"id": "OwnWorld-v0"}))
    gymnasium.registry["OwnWorld-v0"].kwargs["speed"] = 0.5
    assert code_hash(GymWorld.code_roots({"id": "OwnWorld-v0"})) != before
    inner = depends_on(GymWorld.code_roots({"id": "unregistered", "entry_point": "own_world.other:Env"}))
    assert "own_world.other" in inner and "own_world.env" not in inner


def test_an_installed_package_counts_by_its_version() -> None:
    found = depends_on(["gymnasium.envs.classic_control.cartpole"])
    assert found == {"package gymnasium": gymnasium.__version__}
    assert depends_on(["no_such_package"]) == {"package no_such_package": "not installed"}
    assert depends_on(["json", "os.path"]) == {}


@pytest.mark.parametrize(("package", "distribution"), [("PIL", "pillow"), ("yaml", "PyYAML"), ("hydra", "hydra-core")])
def test_a_package_of_another_name_counts_by_its_distribution(package: str, distribution: str) -> None:
    assert depends_on([package]) == {f"package {package}": f"{distribution} {metadata.version(distribution)}"}


def test_a_single_file_counts_with_the_data_files_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lone_world.py").write_text("LAYOUT = 'layouts/door.json'\n")
    (tmp_path / "layouts").mkdir()
    for name in ("layouts/door.json", "layouts/other.json", "mlflow.db"):
        (tmp_path / name).write_text("1")
    assert list(depends_on(["lone_world"])) == ["lone_world", "lone_world: layouts/door.json"]


def test_a_notebook_class_counts_with_the_globals_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(**values: object) -> str:
        notebook = types.ModuleType("__main__")
        source = ("import json\nSPEED = 2.0\nUNUSED = 1\ndef push(x):\n    return x * SPEED\n"
                  "class Env:\n    size = 3\n    def step(self, action):\n        return json, push(action), {'a', 'b'}\n")
        for name, value in values.items():
            source = source.replace(name, str(value))
        exec(compile(source, "<cell>", "exec"), vars(notebook))
        monkeypatch.setitem(sys.modules, "__main__", notebook)
        return code_hash([notebook.Env])

    first = typed()
    assert typed() == first and typed(UNUSED="ANOTHER") == first
    assert len({first, typed(**{"2.0": 0.5}), typed(**{"size = 3": "size = 4"}), typed(**{"x * SPEED": "x + SPEED"})}) == 4
