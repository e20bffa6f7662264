"""Run header: what is needed to read a trace, written before tick 0."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

from ami.config.renamed import renamed_overrides, renamed_settings
from ami.envs.overlay import Overlay
from ami.errors import TraceError
from ami.graph.spec import ModuleSpec
from ami.graph.wiring import Wire
from ami.storage.files import MIB, FileKind, write_json
from ami.storage.schema import AtMost, Between, Count, Like, Line, Name, Whole, shown
from ami.terminal.text import escaped
from ami.trace.no_run import no_run

if TYPE_CHECKING:
    from ami.graph.graph import Graph

NAME = "header.json"
FORMAT = 1
PACKAGES = ("ami", "torch", "numpy", "gymnasium", "ray", "mlflow", "pyarrow")
DISTRIBUTIONS = {"ami": "ami-sim"}
"""Packages whose distribution has another name."""
_NAME = r"[A-Za-z_]\w{0,99}"
_WIRE = re.compile(rf"({_NAME})\.({_NAME})(?:@-(\d{{1,9}}))? → ({_NAME})\.({_NAME})")
WireText = Annotated[str, Like(_WIRE.pattern, "a wire, 'node.port@-delay → node.port'")]
PortText = Annotated[str, Like(rf"{_NAME}\.{_NAME}", "a port, 'node.port'")]
Text = Annotated[str, AtMost(100_000)]


class Clock(TypedDict):
    """Both clocks, read at the same time, in nanoseconds."""

    monotonic: Whole
    epoch: Whole


class Node(TypedDict):
    """The module of a node; its other settings are any plain values."""

    _target_: NotRequired[Line]


class Wired(TypedDict):
    """The graph, as `ami.graph.graph.Graph.describe` writes it."""

    nodes: Annotated[dict[Name, Node], AtMost(1000)]
    order: Annotated[list[Name], AtMost(1000)]
    wires: list[WireText]
    cut: NotRequired[list[WireText]]
    calls: NotRequired[dict[Name, dict[Name, Name]]]
    every: NotRequired[dict[Name, Annotated[int, Between(1, 10**9)]]]


class Evaluated(TypedDict):
    """The settings of an evaluation that a reader of its trace needs."""

    batch: NotRequired[Annotated[int, Between(1, 10**6)]]


class Settings(TypedDict):
    """The settings that a reader of a trace needs; the others are any plain values."""

    evaluation: NotRequired[Evaluated | None]
    runtime: NotRequired[str]
    placement: NotRequired[str | dict[str, list[Name]]]


class Details(TypedDict):
    """Further entries that `ami run`, `ami train` and `ami replay` write."""

    overrides: NotRequired[list[Text]]
    checkpoint: NotRequired[Line | None]
    learning_was_cached: NotRequired[bool]
    origin: NotRequired[dict[str, Any]]
    replay_of: NotRequired[Line]
    swap_of: NotRequired[Line]
    fork_of: NotRequired[Line]
    forked_at: NotRequired[tuple[Count, Count]]
    alive: NotRequired[list[Count]]
    incomparable: NotRequired[Line | None]


class Header(TypedDict):
    """Content of `header.json`."""

    run_id: Line
    seed: Annotated[int, Between(0, 2**64 - 1)]
    graph_hash: Line
    config_hash: NotRequired[Line | None]
    intrinsic_cost_hash: Line | None
    clock: Clock
    versions: dict[Line, Line]
    details: Details
    overlay: NotRequired[dict[str, Any] | None]
    graph: Wired
    roles: NotRequired[dict[Name, Line]]
    texts: NotRequired[list[PortText]]
    planes: NotRequired[dict[PortText, tuple[Whole, Whole]]]
    config: Settings | None


FILE = FileKind("a run header", TraceError, "copy the run again from where it was made, or run again", 8 * MIB,
                dict[str, Any])


def write_header(folder: Path, graph: Graph, config: Mapping[str, Any] | None = None, *, seed: int,
                 run_id: str | None = None, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write `header.json` atomically into the run's folder.

    Args:
        folder: the run's folder; its traces are in `folder/trace`.
        graph: the graph whose invocations are recorded.
        config: the resolved configuration as plain values.
        seed: the run's seed.
        run_id: the run's name; None takes the folder's name.
        details: more plain values.

    Returns:
        The header. `clock` holds both clocks at the same time, to convert the trace's monotonic nanoseconds to time of
        day.
    """
    folder = Path(folder)
    header = {
        "format": FORMAT,
        "run_id": run_id or printable_name(folder.resolve()),
        "seed": seed,
        "graph_hash": graph.hash(),
        "config_hash": None if config is None else _hash(config),
        "intrinsic_cost_hash": intrinsic_cost_hash(graph),
        "clock": {"monotonic": time.perf_counter_ns(), "epoch": time.time_ns()},
        "versions": versions(),
        "overlay": None if (overlay := overlay_of(graph)) is None else overlay.plain(),
        "details": dict(details or {}),
        "graph": graph.describe(),
        "roles": {node: graph.drafts[node].role for node in graph.order},
        "texts": [f"{node}.{name}" for node in graph.order for name, port in graph.drafts[node].outputs.items()
                  if port.is_text],
        "planes": {f"{node}.{name}": list(plane) for node in graph.order
                   for name, port in graph.drafts[node].outputs.items() if (plane := port.plane_of(graph.dims[node]))},
        "config": None if config is None else dict(config),
    }
    write_json(folder / NAME, header)
    return header


def read_header(folder: Path) -> dict[str, Any]:
    """Read a run's header; settings that were renamed since have their new names.

    Raises:
        TraceError: the folder is missing or holds no run, or its header has another format.
    """
    path = Path(folder) / NAME
    try:
        header: dict[str, Any] = FILE.read_json(path, folder)
    except FileNotFoundError:
        raise TraceError(no_run(Path(folder), NAME)) from None
    if header.get("format") != FORMAT:
        raise TraceError(f"{path} has the format {shown(header.get('format'))}: expected {FORMAT}. "
                         "Fix: read it with the version of ami that wrote it")
    FILE.check(path, header, Header)
    if "overrides" in header["details"]:
        header["details"]["overrides"] = renamed_overrides(header["details"]["overrides"], header["config"])
    header["config"] = header["config"] and renamed_settings(header["config"])
    header["graph"]["nodes"] = renamed_settings(header["graph"]["nodes"], "graph.nodes")
    return header


def overlay_of(graph: Graph) -> Overlay | None:
    """Return how the world's state maps to its picture; None if the world declares no overlay."""
    from ami.blueprint import World  # here, as below: a reader of a header needs no PyTorch

    return next((draft.overlay for draft in graph.drafts.values() if isinstance(draft, World)), None)


def printable_name(folder: Path) -> str:
    """Return a folder's name as one line of text; names may contain line breaks or invalid UTF-8."""
    return escaped(os.fsencode(folder.name).decode(errors="replace"), keep="")


def wires_of(header: Mapping[str, Any], cut: bool = False) -> list[Wire]:
    """Return the connected wires of the run's graph, or its cut wires."""
    found = map(_WIRE.fullmatch, header["graph"].get("cut", ()) if cut else header["graph"]["wires"])
    return [Wire(node, port, to_node, to_port, int(delay or 0)) for node, port, delay, to_node, to_port in (
        match.groups() for match in found if match)]


def intrinsic_cost_hash(graph: Graph) -> str | None:
    """Hash the immutable cost terms (code, settings, weights and floors) to 16 hex digits; None without a cost.

    A cost that does not name its terms in a setting `intrinsic` is immutable as a whole.
    """
    from ami.blueprint import Cost

    found: dict[str, Any] = {}
    for node in graph.order:
        part = graph.specs[node]
        if isinstance(part.target, type) and issubclass(part.target, Cost):
            settings = part.resolved()
            terms = settings.get("intrinsic")
            own = settings if terms is None else {
                "intrinsic": terms, **{name: {term: (settings.get(name) or {}).get(term) for term in terms}
                                       for name in ("weights", "floors")}}
            hashed = part if terms is None else ModuleSpec(part.target, {"intrinsic": part.settings["intrinsic"]})
            found[node] = [own, [_source(name) for name in hashed.files()]]
    return _hash(found) if found else None


def _source(module: str) -> str:
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):  # a class defined in a notebook has no file
        return module


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python, the platform and the installed packages, without importing them."""
    found = {"python": platform.python_version(), "machine": f"{sys.platform} {platform.machine()}"}
    for package in packages:
        try:
            found[package] = metadata.version(DISTRIBUTIONS.get(package, package))
        except metadata.PackageNotFoundError:
            continue
    return found


def _hash(content: Mapping[str, Any]) -> str:
    """Hash to 16 hex digits, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
