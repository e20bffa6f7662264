"""Code hash: the files that a behaviour depends on, found by static analysis of imports.

Every import is followed from the given roots, also inside functions, so the result is the same in a notebook, in a script
and on the command line. Local packages count by the text of each file and by the data files next to it, installed packages
by their version. Documents (`.md`, `.rst`) and imports under `TYPE_CHECKING` do not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

OURS = ("ami", "modules", "worlds", "configs")
"""ami's own packages, counted file by file wherever they are installed."""
NO_DATA = (".py", ".pyc", ".pyi", ".so", ".md", ".rst", ".ipynb")
STORE_MARKS = ("mlflow.db", "header.json", "trained")
"""A folder that holds one of these is a store of runs, not data of the surrounding package."""
AMI = Path(__file__).parents[1]
"""ami's own files, whose data files do not count."""
DYNAMIC = ("import_module", "__import__")
"""Functions that import the module of a name."""
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""The fields of a syntax tree that hold statements."""
INTERACTIVE = "__main__"
_FILE_NAME = re.compile(r"\w[\w./ -]{0,98}\.\w{1,8}")
Root = str | type | Callable[..., Any] | Mapping[str, Any]


class Content(NamedTuple):
    """What counts of a file: its hash, the names it imports, relative ones with their dots, and the file names in it."""

    digest: str
    imports: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset()


Reader = Callable[[Path, int, int], Content]
"""Returns the content of a file that was last changed at a time, in nanoseconds, and has a size, in bytes."""


@lru_cache(maxsize=4096)
def content_of(file: Path, changed_at: int, size: int) -> Content:
    """Read a file, once per time of change and size."""
    if file.suffix != ".py":
        with file.open("rb") as data:
            return Content(hashlib.file_digest(data, "sha256").hexdigest()[:16])
    text = file.read_bytes()
    digest = hashlib.sha256(text).hexdigest()[:16]
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # an invalid file imports nothing
        return Content(digest)
    dynamic = any(word.encode() in text for word in DYNAMIC)
    texts = set() if file.is_relative_to(AMI) else {
        node.value for node in _nodes(tree, True) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return Content(digest, tuple(sorted(set(_imports(tree, dynamic)))), frozenset(filter(_FILE_NAME.fullmatch, texts)))


def code_hash(roots: Iterable[Root], *, without: Collection[str] = (), read: Reader = content_of) -> str:
    """Return 16 hex digits over the result of `depends_on`."""
    found = depends_on(roots, without=without, read=read)
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def depends_on(roots: Iterable[Root], *, without: Collection[str] = (), read: Reader = content_of) -> dict[str, str]:
    """Return files, packages and plain values by name, each with its hash, its version, or the value.

    Args:
        roots: names of Python modules; classes and functions; or mappings of plain values by name.
        without: Python modules and packages that imports are not followed into. A root always counts.
        read: reads a file.
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for root in roots:
        if isinstance(root, str):
            names.append(root)
        elif isinstance(root, Mapping):
            found |= {f"fact {name}": _text(value) for name, value in root.items()}
        else:
            names += _of_object(root, found)
    given = set(names)
    waiting = sorted(given)
    seen: set[str] = set()
    while waiting:
        for name in _with_parents(waiting.pop()):
            if name in seen or (name not in given and any(_lies_in(name, one) for one in without)):
                continue
            seen.add(name)
            waiting += _of_module(name, found, read)
    return found


def _of_module(name: str, found: dict[str, str], read: Reader) -> list[str]:
    """Add a Python module to `found`; return the names that its file imports."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names and name != INTERACTIVE:
        return []
    place = _place(name)
    if place is None:
        if name == top:
            found[f"package {top}"] = "not installed"
        return []
    file, is_package = place
    if top not in OURS and _is_installed(file):
        release = _version(top)
        if release is not None:
            found[f"package {top}"] = release
            return []
    content = _read(file, read)
    found[name] = content.digest
    if top != "ami":
        data_files = _package_data(file.parent) if is_package else _named_data(file, content.texts)
        found |= {f"{name}: {path.relative_to(file.parent).as_posix()}": _read(path, read).digest for path in data_files}
    package = name if is_package else name.rpartition(".")[0]
    return [_absolute(text, package) for text in content.imports]


def _read(file: Path, read: Reader) -> Content:
    state = file.stat()
    return read(file, state.st_mtime_ns, state.st_size)


def _with_parents(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[:count]) for count in range(1, len(words) + 1)]


def _lies_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _absolute(name: str, package: str) -> str:
    """Resolve a relative import, ".physics" or "..maps.small", from a package."""
    level = len(name) - len(name.lstrip("."))
    words = package.split(".")
    return name if not level else ".".join(filter(None, (*words[:len(words) - level + 1], name[level:])))


# Location of a Python module, without importing it ----------------------------------------------------------------------


def _place(name: str) -> tuple[Path, bool] | None:
    """Return its file, and whether it is a package's `__init__`; None if there is no such file."""
    if name == INTERACTIVE:
        file = getattr(sys.modules[INTERACTIVE], "__file__", None)
        return (Path(file), False) if file and Path(file).is_file() else None
    path: Any = None
    spec: Any = None
    for part in _with_parents(name):
        spec = _spec(part, path)
        if spec is None or (part != name and spec.submodule_search_locations is None):
            return None
        path = spec.submodule_search_locations
    if not spec.has_location or spec.origin is None or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin), path is not None


def _spec(name: str, path: Any) -> Any:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return getattr(sys.modules.get(name), "__spec__", None)  # loaded from a file that is not on the path


def _is_installed(file: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(file.parts)) or any(
        file.is_relative_to(place) for place in _site_folders())


@lru_cache(maxsize=1)
def _site_folders() -> tuple[Path, ...]:
    return tuple({Path(place) for place in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"),
                                            *site.getsitepackages(), site.getusersitepackages())})


@lru_cache(maxsize=256)
def _version(package: str) -> str | None:
    """Return the version of the distribution that a package comes from; None for a file of no distribution."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        names = {one.metadata["Name"] for one in metadata.distributions() if _holds(one, package)}
        return ", ".join(f"{name} {metadata.version(name)}" for name in sorted(names)) or None


def _holds(distribution: metadata.Distribution, package: str) -> bool:
    """Return whether a package is in a distribution's list of files; parsing all lists takes a fifth of a second."""
    declared = distribution.read_text("top_level.txt")
    if declared:
        return package in declared.split()
    files = distribution.read_text("RECORD") or ""
    return re.search(rf"^{re.escape(package)}(/|\.py,|\.[\w.-]*(so|pyd),)", files, re.MULTILINE) is not None


# Content of a file ------------------------------------------------------------------------------------------------------


def _imports(tree: ast.AST, dynamic: bool) -> Iterator[str]:
    """Yield the imported names; those of calls, such as `import_module("name")`, only with `dynamic`."""
    for node in _nodes(tree, dynamic):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield origin
            yield from (f"{origin}.{alias.name}" if node.module else f"{origin}{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", *DYNAMIC):
            yield from (word.value for word in node.args[:1]
                        if isinstance(word, ast.Constant) and isinstance(word.value, str))


def _nodes(tree: ast.AST, expressions: bool) -> Iterator[ast.AST]:
    """Yield the nodes of a tree, with or without its expressions; those under `if TYPE_CHECKING` are left out."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        only_for_types = isinstance(node, ast.If) and any(
            "TYPE_CHECKING" in (getattr(part, "id", ""), getattr(part, "attr", "")) for part in ast.walk(node.test))
        for name in ("orelse",) if only_for_types else node._fields if expressions else BLOCKS:
            value = getattr(node, name, None)
            waiting += [child for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST)]


def _package_data(folder: Path) -> Iterator[Path]:
    """Yield the data files of a package and of the plain folders in it; packages inside it are counted separately."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or path.suffix in NO_DATA:
            continue
        if path.is_file():
            yield path
        elif path.is_dir() and not any((path / mark).exists() for mark in ("__init__.py", *STORE_MARKS)):
            yield from _package_data(path)


def _named_data(file: Path, texts: Collection[str]) -> list[Path]:
    """Return the data files that a single Python file names, relative to its own folder."""
    named = [file.parent / text for text in sorted(texts)]
    return [path for path in named if path.suffix not in NO_DATA and path.is_file()]


# Code typed into a notebook, which has no file --------------------------------------------------------------------------


def _of_object(root: Any, found: dict[str, str]) -> list[str]:
    """Return the Python module of a class or function; if it has no file, add its code and the globals it uses."""
    name = str(getattr(root, "__module__", type(root).__module__))
    if name != INTERACTIVE or _place(name) is not None:
        return [name]
    names: list[str] = []
    waiting = [root]
    while waiting:
        typed = waiting.pop()
        label = f"typed {getattr(typed, '__qualname__', typed)}"
        if label in found:
            continue
        codes, bases = _codes(typed)
        found[label] = hashlib.sha256(repr([_plain(code) for code in codes]).encode()).hexdigest()[:16]
        namespace = vars(sys.modules[INTERACTIVE])
        used = {word for code in codes if isinstance(code, CodeType) for word in _names(code) if word in namespace}
        for word in sorted(used):
            value = namespace[word]
            if isinstance(value, ModuleType):
                names.append(value.__name__)
            elif isinstance(value, (type, FunctionType)):
                bases.append(value)
            else:
                found[f"typed {word}"] = _text(value)
        names += [base.__module__ for base in bases if base.__module__ != INTERACTIVE]
        waiting += [base for base in bases if base.__module__ == INTERACTIVE]
    return names


def _codes(typed: Any) -> tuple[list[Any], list[Any]]:
    """Return the code and the plain values of a class or function, and its base classes."""
    if not isinstance(typed, type):
        typed = inspect.unwrap(typed)
        return [getattr(typed, "__code__", None), _text(getattr(typed, "__defaults__", None))], []
    parts: list[Any] = []
    for name, value in sorted(vars(typed).items()):
        for one in (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),):
            if isinstance(one, FunctionType):
                parts += [name, one.__code__, _text(one.__defaults__)]
            elif not name.startswith("__"):
                parts += [name, _text(one)]
    return parts, [base for base in typed.__mro__[1:] if base is not object]


def _plain(code: Any) -> Any:
    """Return the parts of a code object that do not depend on its position."""
    if not isinstance(code, CodeType):
        return code
    return (code.co_code.hex(), code.co_names, code.co_varnames,
            [_plain(value) if isinstance(value, CodeType) else _text(value) for value in code.co_consts])


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from _names(value)


def _text(value: Any) -> str:
    """Return a value as text that is the same in every process: without addresses, and with sets sorted."""
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
