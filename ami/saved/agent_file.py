"""Trained: an agent that has learnt, as one file, and how that is held against the graph that is to run it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from ami.config.compose import Config
from ami.errors import CheckpointError
from ami.graph.graph import Graph
from ami.learning import checkpoint
from ami.learning.probe import Readout
from ami.learning.trainer import Row
from ami.runtime.worker import Weights
from ami.storage.schema import Name
from ami.trace.header import versions

AGENT_FILE = "agent.safetensors"


class Learnt(TypedDict):
    """What the metadata of an agent's file say; `save` writes them."""

    nodes: dict[Name, dict[str, Any]]
    key: str
    seconds: float
    probes: dict[str, dict[str, float]]
    rows: list[dict[str, float | str]]
    config: NotRequired[dict[str, Any]]
    overrides: NotRequired[list[str]]
    versions: NotRequired[dict[str, str]]


@dataclass
class Trained:
    """An agent that has learnt.

    Attributes:
        weights: by node; a node that learns nothing has no entry.
        file: its checkpoint; None when it learns nothing.
        key: the hash of what it was trained with.
        cached: whether it was found instead of trained.
        seconds: what collecting and learning took when they were done.
        probes: figures of "trained" and "untrained" states (`ami.learning.probe.ProbeFigures`).
        readout: reads the true state from its states, for pictures; None without a perception and a world model.
        rows: the figures logged while it learnt.
        found: what was found in the cache when it was trained, such as ("experience", "model").
        learnt: what was not, such as ("critic",).
        found_seconds: what the former took when it was done.
    """

    weights: Weights = field(default_factory=dict)
    file: Path | None = None
    key: str = ""
    cached: bool = False
    seconds: float = 0.0
    probes: dict[str, dict[str, float]] = field(default_factory=dict)
    readout: Readout | None = None
    rows: list[Row] = field(default_factory=list)
    found: tuple[str, ...] = ()
    learnt: tuple[str, ...] = ()
    found_seconds: float = 0.0

    def line(self) -> str:
        """One line for the terminal."""
        if self.file is None:
            return "nothing to learn"
        if self.cached:
            return f"trained agent found, learning skipped (it took {self.seconds:.0f} s): {self.file}"
        here = f"learnt in {self.seconds - self.found_seconds:.0f} s: {self.file}"
        if not self.found:
            return here
        return f"{', '.join(self.found)} found ({self.found_seconds:.0f} s saved), {', '.join(self.learnt)} {here}"


def save(file: Path, trained: Trained, graph: Graph, config: Config) -> None:
    """Write an agent as one file: its weights, the configuration it was made by, and its figures of learning."""
    tensors = checkpoint.flat(trained.weights)
    if trained.readout is not None:
        tensors |= checkpoint.flat({"readout": vars(trained.readout)})
    checkpoint.save(file, tensors, {
        "nodes": _description(graph, list(trained.weights)), "key": trained.key, "seconds": trained.seconds,
        "probes": trained.probes, "rows": trained.rows, "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(("ami", "torch")), "config": config.plain(), "overrides": list(config.overrides)})


def read_weights(file: Path) -> Weights:
    """The weights in an agent's file, by node; raises as `ami.learning.checkpoint.load` does."""
    return {node: state for node, state in checkpoint.by_node(checkpoint.load(file)[0]).items() if node != "readout"}


def open_trained(file: Path, graph: Graph) -> Trained:
    """Open a checkpoint, a file or the folder it is in, and hold it against the graph that is to run it.

    Raises:
        CheckpointError: the file is missing or broken, or was trained with other modules, settings or sizes.
    """
    file = Path(file) / AGENT_FILE if Path(file).is_dir() else Path(file)
    tensors, notes = checkpoint.load(file)
    if "nodes" not in notes:
        raise CheckpointError(f"'{file}' holds a training that is not finished. Fix: finish it with `ami train`, "
                              f"which leaves {AGENT_FILE} in a folder of `trained`")
    if not notes["nodes"]:
        raise CheckpointError(f"'{file}' holds an agent that learnt nothing: expected one with weights. "
                              "Fix: checkpoint=null")
    checkpoint.FILE.check(file, notes, Learnt)
    own = _description(graph, [node for node in notes["nodes"] if node in graph.order])
    wrong = [f"{node} is not in this graph" for node in notes["nodes"] if node not in graph.order]
    for node, now in own.items():
        then = notes["nodes"][node]
        wrong += [f"{node}.{key} was {then.get(key)!r} and is now {now.get(key)!r}"
                  for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
    if wrong:
        raise CheckpointError(f"'{file}' was trained with another graph: {'; '.join(wrong)}. "
                              "Fix: run with the settings it was trained with, or train anew with checkpoint=null")
    nodes = checkpoint.by_node(tensors)
    readout = checkpoint.as_record(file, nodes.pop("readout"), Readout) if "readout" in nodes else None
    return Trained(nodes, file, notes["key"], True, notes["seconds"], notes["probes"], readout, notes["rows"])


def _description(graph: Graph, nodes: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """What must be equal for weights to fit: settings and sizes by node, as JSON would give them back."""
    found = {node: {**graph.specs[node].resolved(), "sizes": graph.dims[node]} for node in nodes}
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(found, default=str))
    return plain
