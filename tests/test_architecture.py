"""The house rules that a machine can check: who imports whom, what no file may hold, and that every leaf works."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ami.cli.listing import SECTIONS, leaves
from ami.config.compose import compose, to_graph
from ami.config.instantiate import specs_of

HOME = Path(__file__).parent.parent
SOURCES = sorted(file for folder in ("ami", "modules", "worlds", "configs") for file in (HOME / folder).rglob("*.py"))
ROLES = {folder.name for folder in (HOME / "modules").iterdir() if (folder / "__init__.py").is_file()}
LAYERS = [  # each may import those after it in its own line and in the lines below
    ("__main__",),
    ("cli",),
    ("comparison", "replay", "testing", "drawing"),
    ("session",),
    ("saved", "tracking"),
    ("views",),
    ("evaluation", "learning"),
    ("runtime",),
    ("trace",),
    ("config",),
    ("envs",),
    ("agent",),
    ("graph", "blueprint"),
    ("storage",),
    ("terminal",),
    ("module",),
    ("ports", "rng"),
    ("actions",),
    ("errors",),
]
LOBBY = 11
"""So many files at most lie beside the rooms: what a user imports, or a newcomer reads first."""
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
ONLY_IN = {
    "networkx": {"ami/graph/graph.py"},
    "hydra": {"ami/config/compose.py", "ami/config/option_file.py", "ami/config/sweep.py", "ami/cli/launch.py"},
    "omegaconf": {"ami/config/compose.py", "ami/config/option_file.py", "ami/cli/launch.py"},
}


def name_of(file: Path) -> str:
    return file.relative_to(HOME).as_posix()


def imports(file: Path, top_level: bool = False) -> Iterator[str]:
    """Every module a file imports, type-checking imports left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    hidden = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
              for inner in ast.walk(node)}
    for node in tree.body if top_level else ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_imports_point_one_way(file: Path) -> None:
    home, *rest = file.relative_to(HOME).with_suffix("").parts
    for imported in imports(file):
        top, *inner = imported.split(".")
        if home == "worlds":
            assert top not in ("ami", "modules", "torch", "configs"), imported
        elif home == "modules" and top == "ami":
            assert inner[0] in ("blueprint", "module", "ports", "errors"), imported
        elif home == "modules" and top == "modules":
            assert inner[0] == "nets" or inner[0] == rest[0], f"{imported}: another kind of module"
        elif home == "ami":
            assert top not in ("modules", "worlds", "configs"), imported
            if top == "ami" and inner and rest[0] in RANK and inner[0] in RANK:
                assert RANK[inner[0]] >= RANK[rest[0]], f"{name_of(file)} imports {imported}, which is above it"


def test_every_file_of_ami_has_its_layer() -> None:
    names = {path.stem for path in (HOME / "ami").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert names - {"__init__"} == set(RANK)


def test_the_lobby_stays_small() -> None:
    lobby = sorted(path.name for path in (HOME / "ami").glob("*.py"))
    assert len(lobby) <= LOBBY, lobby


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_met_in_one_place(library: str) -> None:
    users = {name_of(file) for file in SOURCES if library in map(package, imports(file))}
    assert users <= ONLY_IN[library]


def test_ray_is_met_in_its_runtime_alone() -> None:
    users = {name_of(file) for file in SOURCES if "ray" in map(package, imports(file))}
    assert users and all(re.fullmatch(r"ami/runtime/ray\w*\.py", user) for user in users), users


def test_mlflow_is_met_in_the_files_of_its_name_and_one_of_learning() -> None:
    users = [name_of(file) for file in SOURCES if "mlflow" in map(package, imports(file))]
    others = [user for user in users if not re.fullmatch(r"ami/tracking/\w+\.py", user)]
    assert len(others) <= 1 and all(user.startswith("ami/learning/") for user in others), others


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_file_unpickles(file: Path) -> None:
    assert not {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"} & set(map(package, imports(file)))
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call)}
    assert not {"torch.load", "torch.save", "pandas.read_pickle", "eval", "exec"} & calls
    assert "allow_pickle=True" not in file.read_text(encoding="utf-8")


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "base2"}
    files = [*SOURCES, *(HOME / "tests").rglob("*.py"), *(HOME / "benchmarks").rglob("*.py")]
    assert not [name_of(file) for file in files if file.stem in drawers]


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_a_file_says_first_what_it_is_about(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_setting_is_swallowed_and_no_error_caught_blindly(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        # a world hands its settings on to gymnasium, which refuses those that the environment does not know
        if isinstance(node, ast.FunctionDef) and node.name == "__init__" and name_of(file) != "ami/envs/world.py":
            assert node.args.kwarg is None, f"line {node.lineno}: **{node.args.kwarg and node.args.kwarg.arg}"
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "nothing named"
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            after_the_work = name_of(file) == "ami/terminal/best_effort.py"  # must not cost it, whatever is raised
            blind = caught in ("nothing named", "Exception", "BaseException")
            assert raises or after_the_work or not blind, f"line {node.lineno}: {caught}"


# The configuration ----------------------------------------------------------------------------------------------------

LEAVES = sorted((HOME / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("leaf", LEAVES, ids=name_of)
def test_a_leaf_begins_by_saying_what_it_is(leaf: Path) -> None:
    first, second = [*leaf.read_text(encoding="utf-8").splitlines(), ""][:2]
    line = second if first.startswith("# @package") else first
    assert re.match(r"# \w.{10,}", line), line
    if leaf.parent.name == "experiment":
        assert "?" in line and len(leaf.read_text(encoding="utf-8").splitlines()) <= 15


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf.name != "ami.yaml"], ids=name_of)
def test_a_leaf_is_flat(leaf: Path) -> None:
    assert "${" not in leaf.read_text(encoding="utf-8")


MODULES = [(group, name) for section in ("modules", "worlds") for group in SECTIONS[section] for name, _ in leaves(group)]


@pytest.mark.parametrize(("group", "name"), MODULES)
def test_every_target_resolves_and_a_leaf_repeats_no_default(group: str, name: str) -> None:
    part = specs_of(compose([f"{group}={name}"]).plain())[group]
    assert part.check(group) == []
    import inspect

    defaults = {key: parameter.default for key, parameter in inspect.signature(part.target).parameters.items()}
    assert not [key for key, value in part.settings.items() if value == defaults[key]]


@pytest.mark.parametrize("override", [f"{group}={name}" for group in ("agent", "experiment") for name, _ in leaves(group)])
def test_every_agent_and_experiment_is_a_sound_graph_without_idle_parts(override: str) -> None:
    assert to_graph(compose([override])).warnings == []


def test_every_role_of_the_blueprint_has_a_folder_of_modules_and_of_leaves() -> None:
    assert set(SECTIONS["modules"]) == ROLES == {folder.name for folder in (HOME / "configs").iterdir()} & ROLES
