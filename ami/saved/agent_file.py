"""Trained agents: save one as a file, and check the file against the graph that runs it."""

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
from ami.learning.stage_run import Row
from ami.runtime.held_modules import Weights
from ami.storage.schema import Name
from ami.trace.header import versions

AGENT_FILE = "agent.safetensors"


class Learnt(TypedDict):
    """The metadata of an agent's file, as `save` writes them."""

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
    """A trained agent.

    Attributes:
        weights: state dicts by node; a node that learns nothing has no entry.
        file: its checkpoint; None if it learns nothing.
        key: the hash of its training plan.
        cached: whether it was loaded instead of trained.
        seconds: the original duration of collecting and learning.
        probes: probe figures of "trained" and "untrained" states (`ami.learning.probe.ProbeFigures`).
        readout: reads the true state from its states, for pictures; None without a perception and a world model.
        rows: the figures logged during learning.
        found: the steps loaded from the cache during training, such as ("experience", "model").
        learnt: the other steps, such as ("critic",).
        found_seconds: the original duration of the loaded steps.
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
        """Return one line for the terminal."""
        if self.file is None:
            return "nothing to learn"
        if self.cached:
            return f"trained agent found, learning skipped (it took {self.seconds:.0f} s): {self.file}"
        here = f"learnt in {self.seconds - self.found_seconds:.0f} s: {self.file}"
        if not self.found:
            return here
        return f"{', '.join(self.found)} found ({self.found_seconds:.0f} s saved), {', '.join(self.learnt)} {here}"


def save(file: Path, trained: Trained, graph: Graph, config: Config) -> None:
    """Write an agent as one file: its weights, its configuration and its learning curves."""
    tensors = checkpoint.flat(trained.weights)
    if trained.readout is not None:
        tensors |= checkpoint.flat({"readout": vars(trained.readout)})
    checkpoint.save(file, tensors, {
        "nodes": description(graph, list(trained.weights)), "key": trained.key, "seconds": trained.seconds,
        "probes": trained.probes, "rows": trained.rows, "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(("ami", "torch")), "config": config.plain(), "overrides": list(config.overrides)})


def read_weights(file: Path) -> Weights:
    """Read the weights in an agent's file, by node; raises as `ami.learning.checkpoint.load` does."""
    return {node: state for node, state in checkpoint.by_node(checkpoint.load(file)[0]).items() if node != "readout"}


def is_untrained(file: Path) -> bool:
    """Return whether an agent's file holds one that learnt nothing; raises as `read_weights` does."""
    return not checkpoint.load(file)[1].get("nodes")


def open_trained(file: Path, graph: Graph) -> Trained:
    """Open a checkpoint, a file or its folder, and check it against the graph that runs it.

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
    own = description(graph, [node for node in notes["nodes"] if node in graph.order])
    wrong = [f"{node} is not in this graph" for node in notes["nodes"] if node not in graph.order]
    for node, now in own.items():
        then = notes["nodes"][node]
        wrong += [f"{node}.{key} was {then.get(key)!r} and is now {now.get(key)!r}"
                  for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
    if wrong:
        raise CheckpointError(f"'{file}' was trained with another graph: {'; '.join(wrong)}. "
                              "Fix: run with the settings it was trained with, or train again with checkpoint=null")
    nodes = checkpoint.by_node(tensors)
    readout = checkpoint.as_record(file, nodes.pop("readout"), Readout) if "readout" in nodes else None
    return Trained(nodes, file, notes["key"], True, notes["seconds"], notes["probes"], readout, notes["rows"])


def description(graph: Graph, nodes: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """Return what must be equal for weights to fit: settings and sizes by node, as JSON-compatible values."""
    found = {node: {**graph.specs[node].resolved(), "sizes": graph.dims[node]} for node in nodes}
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(found, default=str))
    return plain
