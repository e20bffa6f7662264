"""Initial weights: nodes that begin with the weights of a file or of another run's agent, `NODE.weights=FILE|RUN[:NODE]`.

The tensors are checked against the module before any work. `NODE.frozen=true` keeps them: no stage trains the node. The file
of the trained agent holds these weights too, so that it opens without the file they came from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ami.config.compose import Config
from ami.config.node_settings import node_settings
from ami.errors import CheckpointError, UnknownName, suggestion
from ami.graph.graph import Graph
from ami.learning import checkpoint
from ami.runtime.build import build_module
from ami.runtime.held_modules import Weights
from ami.saved.agent_file import AGENT_FILE, description
from ami.storage.store import find
from ami.trace.provenance import weights_hash

MOST_NAMED = 3
"""The number of tensors that a message names."""


@dataclass(frozen=True)
class InitialWeights:
    """The weights that nodes of a graph begin with.

    Attributes:
        weights: state dicts by node.
        hashes: the hash of each node's tensors, whatever file they came from.
        frozen: the nodes that no stage trains.
    """

    weights: Weights = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    frozen: Collection[str] = ()

    def remarks(self) -> list[str]:
        """Return a warning for each frozen node whose weights are random."""
        return [f"warning: {node} is frozen and untrained: it keeps its random initial weights, which is a control. "
                f"Fix for anything else: {node}.weights=FILE|RUN" for node in sorted({*self.frozen} - {*self.weights})]

    def described(self, node: str) -> list[Any]:
        """Return what a training depends on, for cache keys; empty for a node without such settings."""
        return [self.hashes.get(node, ""), node in self.frozen] if node in self.hashes or node in self.frozen else []


def initial_weights(config: Config, graph: Graph, known: Collection[str] = ()) -> InitialWeights:
    """Read the initial weights of a config's nodes.

    Args:
        config: the config.
        graph: its graph; nodes outside it are left out.
        known: nodes whose files need not be read, since a checkpoint holds their weights.

    Raises:
        CheckpointError: a file is missing or broken, or its tensors do not fit the module.
        UnknownName: a file holds no such node.
    """
    settings = {node: one for node, one in node_settings(config.plain()).items() if node in graph.order}
    found = {node: _read(config, graph, node, one.weights) for node, one in settings.items()
             if one.weights is not None and node not in known}
    return InitialWeights(found, {node: weights_hash(weights) for node, weights in found.items()},
                          frozenset(node for node, one in settings.items() if one.frozen))


def _read(config: Config, graph: Graph, node: str, given: str) -> Mapping[str, Tensor]:
    store = config.settings.store
    path, inner = find(given, store), node
    if not path.exists() and ":" in given:
        given, _, inner = given.rpartition(":")
        path = find(given, store)
    file = path / AGENT_FILE if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"{node}.weights is '{given}': there is no such file, and no run of that name in '{store}'. "
                              "Fix: a run's folder or its name, a file of ami, or a safetensors file of the module")
    tensors, notes = checkpoint.read(file)
    if notes is None:
        _check(graph, node, file, tensors, config.settings.seed, {})
        return tensors
    described = notes.get("nodes")
    if not isinstance(described, dict):
        raise CheckpointError(f"{node}.weights: '{file}' holds a training that is not finished. Fix: finish it with "
                              f"`ami train`, which leaves {AGENT_FILE}")
    if inner not in described:
        fix = f"Fix: {node}.weights={given}:NODE" if described else "Fix: another file"
        raise UnknownName(f"{node}.weights: '{file}' holds no weights of a node '{inner}'"
                          f"{suggestion(inner, described)} {fix}")
    weights = checkpoint.by_node(tensors).get(inner, {})
    _check(graph, node, file, weights, config.settings.seed, described[inner])
    return weights


def _check(graph: Graph, node: str, file: Path, weights: Mapping[str, Tensor], seed: int, then: Any) -> None:
    """Raise CheckpointError unless the tensors are those of the node's module; `then` describes the module they are of."""
    module = build_module(graph, node, seed)
    own = module.state_dict()
    wrong = [("lacks", [name for name in own if name not in weights]),
             ("has the unexpected", [name for name in weights if name not in own])]
    mistakes = [f"it {what} {_named(names)}" for what, names in wrong if names]
    mistakes += [f"{name} has the shape {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}"
                 for name in own if name in weights and own[name].shape != weights[name].shape][:MOST_NAMED]
    if not mistakes:
        return
    now = description(graph, [node])[node]
    changed = [key for key in now if key != "sizes" and isinstance(then, Mapping) and key in then and then[key] != now[key]]
    fix = f"a file whose tensors are those of {type(module).__name__} with these settings and sizes"
    if "_target_" in changed:
        fix = f"weights of a {now['_target_']}, not of a {then['_target_']}"
    elif changed:
        fix = f"{' '.join(f'{node}.{key}={json.dumps(then[key])}' for key in changed)}, as it was trained"
    raise CheckpointError(f"{node}.weights: '{file}' does not fit {node} ({type(module).__name__}): {'; '.join(mistakes)}. "
                          f"Fix: {fix}")


def _named(names: list[str]) -> str:
    return f"{', '.join(names[:MOST_NAMED])}" + f" and {len(names) - MOST_NAMED} more" * (len(names) > MOST_NAMED)
