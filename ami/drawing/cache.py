"""Known graphs: descriptions kept in the store, so that a graph that was drawn before is drawn without importing PyTorch.

An entry belongs to a command line: its overrides, folders of options and allowed packages. It is used as long as the code
and data that the graph depends on are the same: ami's own, its options', the modules' and the worlds', the versions of
installed packages, and files that settings name. A configuration that is refused has no entry. Nothing but a drawing is made
from an entry, and one that is damaged or foreign is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from ami.config.trust import ENVIRONMENT
from ami.drawing.description import Description
from ami.errors import AmiError
from ami.storage.code_hash import INTERACTIVE, code_hash
from ami.storage.files import FileKind, write_atomically
from ami.storage.known_files import KnownFiles
from ami.storage.schema import AtMost, Like
from ami.storage.store import CACHE, default_store

if TYPE_CHECKING:
    from ami.config.compose import Config
    from ami.graph.graph import Graph

HOME = Path(__file__).parents[1]
FOLDER, FILES = "graphs", "files.json"
MOST = 200
"""The number of graphs that are kept; the oldest are deleted."""
MOST_OPTIONS = 2_000
DISTRIBUTIONS = ("torch", "numpy", "gymnasium", "networkx", "hydra-core", "omegaconf", "PyYAML")
"""The packages that ami itself makes a graph with."""
Dotted = Annotated[str, Like(r"[^\W\d]\w*(\.[^\W\d]\w*)*", "a module's name")]


class Entry(TypedDict):
    """A kept graph.

    Attributes:
        roots: the Python modules that it depends on.
        files: the files that its settings name.
        code: the hash of both.
        description: what is drawn.
    """

    roots: Annotated[list[Dotted], AtMost(1000)]
    files: Annotated[list[str], AtMost(1000)]
    code: str
    description: Any


ENTRY = FileKind("a known graph", AmiError, "delete it", limit=2**22, schema=Entry)


def described(compose: Callable[[], Config], overrides: Sequence[str] = (), folders: Sequence[Path] = (),
              allow: Sequence[str] = ()) -> Description:
    """Return the description of a configuration's graph: the known one, else one made from the composed configuration.

    Args:
        compose: composes the configuration.
        overrides: the overrides that it is composed from.
        folders: the folders of the user's own options.
        allow: the packages that the command line allows.

    Raises:
        AmiError: as `compose` and `ami.config.compose.to_graph` do; never for an entry.
    """
    folder, key = Path(default_store()) / CACHE / FOLDER, _key(overrides, folders, allow)
    if key is None or not folder.parents[1].is_dir():  # a drawing makes no store
        return _made(compose())[0]
    known = KnownFiles(folder / FILES)
    found = _find(folder / f"{key}.json", known)
    if found is None:
        config = compose()
        found, graph = _made(config)
        _keep(folder / f"{key}.json", known, config, graph, found)
    with suppress(OSError):  # a read-only store, or a full disk: the next drawing takes as long as this one
        known.save()
    return found


def _made(config: Config) -> tuple[Description, Graph]:
    from ami.config.compose import to_graph

    graph = to_graph(config)
    return Description.of(graph, config.remarks()), graph


def _key(overrides: Sequence[str], folders: Sequence[Path], allow: Sequence[str]) -> str | None:
    """Return the key of a command line; None if its options cannot be listed."""
    if any(text.lstrip("+~").startswith("hydra") for text in overrides):
        return None  # it may name folders of options
    options: dict[str, list[tuple[str, int, int]]] = {}
    for folder in folders:
        try:
            files = list(islice(folder.rglob("*.yaml"), MOST_OPTIONS + 1))
            options[str(folder)] = sorted((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        except OSError:
            return None
        if len(files) > MOST_OPTIONS:
            return None
    here = (os.environ.get(ENVIRONMENT, ""), str(Path.cwd()), sys.version, sys.prefix)
    parts = [list(overrides), options, list(allow), here]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _find(file: Path, known: KnownFiles) -> Description | None:
    """Return the description in an entry; None if there is none, or if what it depends on has changed."""
    with suppress(AmiError, OSError, ValueError):  # a Mismatch is a ValueError
        entry: Entry = ENTRY.read_json(file)
        if entry["code"] == _code(entry["roots"], entry["files"], known):
            return Description.from_plain(entry["description"])
    return None


def _keep(file: Path, known: KnownFiles, config: Config, graph: Graph, description: Description) -> None:
    """Write an entry, unless something that it depends on is not known."""
    plain = config.plain()
    devices = [entry.get("device", "cpu") for entry in plain["graph"].values() if isinstance(entry, Mapping)]
    roots = sorted({root if isinstance(root, str) else root.__module__ for spec in graph.specs.values()
                    for root in spec.code_roots() if not isinstance(root, Mapping)})  # a mapping follows from the others
    if INTERACTIVE in roots or any(device != "cpu" for device in devices):  # "auto" depends on the machine
        return
    files = sorted({text for text in _texts(plain) if _is_file(text)})
    with suppress(AmiError, OSError, ValueError):  # as above; the list of known files may be foreign
        code = _code(roots, files, known)
        entry: Entry = {"roots": roots, "files": files, "code": code, "description": description.to_plain()}
        write_atomically(file, json.dumps(entry))
        for old in sorted(file.parent.glob("*.json"), key=os.path.getmtime)[:-MOST]:
            if old.name != FILES:
                old.unlink(missing_ok=True)


def _code(roots: Sequence[str], files: Iterable[str], known: KnownFiles) -> str:
    """Return the hash of everything that a graph depends on; raises OSError if a file is gone."""
    states = [(file, file.stat()) for file in map(Path, files)]
    named = {str(file): known.read(file, state.st_mtime_ns, state.st_size).digest for file, state in states}
    # ami's own files count by their times of change and sizes: parsing all of them would take half a second
    engine = sorted((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in HOME.rglob("*.py"))
    versions = {name: _version(name) for name in DISTRIBUTIONS}
    return code_hash(["configs", *roots, named, versions, {"engine": engine}], without=("ami",), read=known.read)


def _version(distribution: str) -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(distribution)
    return "not installed"


def _is_file(text: str) -> bool:
    with suppress(OSError, ValueError):  # too long for a name, or with a null character
        return Path(text).is_file()
    return False


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)
