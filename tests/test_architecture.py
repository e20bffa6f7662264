"""Automatic checks of the code base: imports between packages, forbidden constructs, and every config option."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ami.cli.listing import SECTIONS, options_of
from ami.config.compose import compose, compose_baseline, to_graph
from ami.config.instantiate import specs_of

HOME = Path(__file__).parent.parent
SOURCES = sorted(file for folder in ("ami", "modules", "worlds", "configs") for file in (HOME / folder).rglob("*.py"))
ROLES = {folder.name for folder in (HOME / "modules").iterdir() if (folder / "__init__.py").is_file()}
LAYERS = [  # a package may import those after it in its line and those in lower lines
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
    ("rollout",),
    ("agent",),
    ("graph", "blueprint"),
    ("data",),
    ("storage",),
    ("terminal",),
    ("module",),
    ("ports", "rng"),
    ("actions", "dtypes"),
    ("errors",),
]
MOST_TOP_LEVEL_FILES = 10
"""Maximal number of files directly in `ami/`: those that a user imports or a newcomer reads first."""
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
ONLY_IN = {
    "networkx": {"ami/graph/graph.py"},
    "hydra": {"ami/config/compose.py", "ami/config/option_file.py", "ami/config/overrides.py", "ami/config/sweep.py",
              "ami/cli/launch.py"},
    "omegaconf": {"ami/config/compose.py", "ami/config/option_file.py", "ami/config/options.py",
                  "ami/config/stage_options.py", "ami/cli/launch.py"},
}


def name_of(file: Path) -> str:
    return file.relative_to(HOME).as_posix()


def imports(file: Path, top_level: bool = False) -> Iterator[str]:
    """Yield every module that a file imports, except for type checking."""
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
            assert inner[0] == "nets" or inner[0] == rest[0], f"{imported}: another role's module"
        elif home == "ami":
            assert top not in ("modules", "worlds", "configs"), imported
            if top == "ami" and inner and rest[0] in RANK and inner[0] in RANK:
                assert RANK[inner[0]] >= RANK[rest[0]], f"{name_of(file)} imports {imported}, which is in a higher layer"


def test_every_file_of_ami_has_its_layer() -> None:
    names = {path.stem for path in (HOME / "ami").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert names - {"__init__"} == set(RANK)


def test_few_top_level_files() -> None:
    top_level = sorted(path.name for path in (HOME / "ami").glob("*.py"))
    assert len(top_level) <= MOST_TOP_LEVEL_FILES, top_level


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_imported_in_one_place(library: str) -> None:
    users = {name_of(file) for file in SOURCES if library in map(package, imports(file))}
    assert users <= ONLY_IN[library]


def test_ray_is_imported_in_its_runtime_only() -> None:
    users = {name_of(file) for file in SOURCES if "ray" in map(package, imports(file))}
    assert users and all(re.fullmatch(r"ami/runtime/ray\w*\.py", user) for user in users), users


def test_mlflow_is_imported_in_tracking_and_one_learning_file() -> None:
    users = [name_of(file) for file in SOURCES if "mlflow" in map(package, imports(file))]
    others = [user for user in users if not re.fullmatch(r"ami/tracking/\w+\.py", user)]
    assert len(others) <= 1 and all(user.startswith("ami/learning/") for user in others), others


def test_the_end_of_an_episode_is_decided_in_one_place() -> None:
    decided = {name_of(file) for file in [*SOURCES, *(HOME / "benchmarks").glob("*.py"), *(HOME / "examples").rglob("*.py")]
               if file.is_relative_to(HOME / "worlds") is False
               for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
               if isinstance(node, (ast.BinOp, ast.BoolOp)) and isinstance(node.op, (ast.BitOr, ast.Or))
               and {"terminated", "truncated"} <= set(re.findall(r"\w+", ast.unparse(node)))}
    assert decided == {"ami/rollout.py"}


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_file_unpickles(file: Path) -> None:
    assert not {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"} & set(map(package, imports(file)))
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
             if isinstance(node, ast.Call)}
    assert not {"torch.load", "torch.save", "pandas.read_pickle", "eval", "exec"} & calls
    assert "allow_pickle=True" not in file.read_text(encoding="utf-8")


def test_no_utils_modules() -> None:
    names = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "base2"}
    files = [*SOURCES, *(HOME / "tests").rglob("*.py"), *(HOME / "benchmarks").rglob("*.py")]
    assert not [name_of(file) for file in files if file.stem in names]


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_every_file_has_a_docstring(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_keyword_catch_all_and_no_blind_except(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        # a world passes its settings to gymnasium, which refuses unknown ones
        if isinstance(node, ast.FunctionDef) and node.name == "__init__" and name_of(file) != "ami/envs/world.py":
            assert node.args.kwarg is None, f"line {node.lineno}: **{node.args.kwarg and node.args.kwarg.arg}"
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "nothing named"
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            after_the_work = name_of(file) == "ami/terminal/best_effort.py"  # its errors must not lose finished work
            blind = caught in ("nothing named", "Exception", "BaseException")
            assert raises or after_the_work or not blind, f"line {node.lineno}: {caught}"


# The configuration ----------------------------------------------------------------------------------------------------

FILES = sorted((HOME / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("option", FILES, ids=name_of)
def test_option_begins_with_a_description(option: Path) -> None:
    first, second = [*option.read_text(encoding="utf-8").splitlines(), ""][:2]
    line = second if first.startswith("# @package") else first
    assert re.match(r"# \w.{10,}", line), line
    if option.parent.name == "experiment":
        assert "?" in line and len(option.read_text(encoding="utf-8").splitlines()) <= 15


@pytest.mark.parametrize("option", [option for option in FILES if option.name != "ami.yaml"], ids=name_of)
def test_option_has_no_interpolation(option: Path) -> None:
    assert "${" not in option.read_text(encoding="utf-8")


MODULES = [(group, name) for section in ("modules", "worlds") for group in SECTIONS[section]
           for name, _ in options_of(group)]


@pytest.mark.parametrize(("group", "name"), MODULES)
def test_every_target_resolves_and_no_option_repeats_a_default(group: str, name: str) -> None:
    part = specs_of(compose([f"{group}={name}"]).plain())[group]
    assert part.check(group) == []
    import inspect

    defaults = {key: parameter.default for key, parameter in inspect.signature(part.target).parameters.items()}
    assert not [key for key, value in part.settings.items() if value == defaults[key]]


@pytest.mark.parametrize("override", [f"{group}={name}" for group in ("agent", "experiment")
                                      for name, _ in options_of(group)])
def test_every_agent_and_experiment_is_a_valid_graph_without_warnings(override: str) -> None:
    # the scout knows the map of one world, in which it collects
    config = (compose_baseline(compose(["experiment=memory_s7"]), "scout") if override == "agent=scout"
              else compose([override]))
    assert to_graph(config).warnings == []


def test_every_role_has_folders_of_modules_and_options() -> None:
    assert set(SECTIONS["modules"]) == ROLES == {folder.name for folder in (HOME / "configs").iterdir()} & ROLES


NODES = "world|perception|world_model|configurator|goal|cost|memory|planner|actor"
"""Nodes of the default graph."""
NO_NODES = {  # strings that are compared with something else
    ("ami/session/dry_run.py", "memory"), ("ami/session/plan.py", "memory"), ("ami/learning/trainer.py", "memory"),  # data
    ("ami/replay/compatibility.py", "goal"),  # a port
}


def node_names(file: Path) -> Iterator[str]:
    """Yield the strings of a file that are a node's port, whole or up to a placeholder, or that are compared with a node."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        texts = [node] if isinstance(node, ast.Constant) else node.values[:1] if isinstance(node, ast.JoinedStr) else []
        yield from (text.value for text in texts if isinstance(text, ast.Constant) and isinstance(text.value, str)
                    and re.fullmatch(rf"({NODES})\.\w*", text.value))
        if isinstance(node, ast.Compare):
            compared = {text.value for text in ast.walk(node) if isinstance(text, ast.Constant)}
            yield from (text for text in compared if isinstance(text, str) and re.fullmatch(NODES, text))


@pytest.mark.parametrize("file", [file for file in SOURCES if re.match(r"ami/(?!blueprint|testing|config)", name_of(file))],
                         ids=name_of)
def test_no_file_knows_a_node_by_its_name(file: Path) -> None:
    assert not [name for name in node_names(file) if (name_of(file), name) not in NO_NODES]


def test_the_viewers_page_knows_no_node_by_its_name() -> None:
    script = (HOME / "ami" / "views" / "page" / "viewer.js").read_text(encoding="utf-8")
    found = re.findall(rf'"(?:{NODES})\.\w+"|(?:value|has)\("(?:{NODES})"|\b(?:node|name) [=!]== "(?:{NODES})"', script)
    assert not found
