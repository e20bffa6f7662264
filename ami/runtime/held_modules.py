"""The modules that a process holds: those of its nodes and replicas of their callees, bound, with their weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from ami.errors import require, unknown_name
from ami.graph.graph import Graph
from ami.module import LEARNING_STATE, Callee, Calls, Module
from ami.runtime.build import build_module, check_weights, load_weights

Weights = Mapping[str, Mapping[str, Tensor]]
"""State dicts by node."""


class HeldModules:
    """Modules and replicas. A callee fired by another worker, or on another device, has a replica here: call edges cost no
    transport.

    Args:
        graph: the checked graph.
        nodes: the nodes that this process fires.
        seed: the run's seed.
        weights: trained weights by node; nodes without an entry keep their initial weights.
        learning: whether to bind the calls that only learning needs.

    Attributes:
        modules: the module of every node, on the device where it fires, if it fires here; else a replica.
        version: the version of the published weights; 0 for none.

    Iterating yields (node, module) for every module and replica.
    """

    def __init__(self, graph: Graph, nodes: Iterable[str], seed: int, weights: Weights | None = None,
                 learning: bool = False) -> None:
        calls = graph.calls if learning else graph.running_calls
        devices = devices_of(graph, nodes, calls)
        self._all = {(node, device): build_module(graph, node, seed, device)
                     for node in graph.order for device in devices.get(node, ())}
        self.modules = {node: self._all[node, devices[node][0]] for node in graph.order if node in devices}
        for (node, device), module in self._all.items():
            module.calls = Calls(node, {name: Callee(callee, self._all[callee, device])
                                        for name, callee in calls[node].items()})
            if weights and node in weights:
                load_weights(node, module, weights[node])
            module.eval()
        self.version = 0

    def __iter__(self) -> Iterator[tuple[str, Module]]:
        return ((node, module) for (node, _), module in self._all.items())

    def check_published(self, version: int, weights: Weights) -> None:
        """Check published weights before any module loads them.

        Raises:
            SettingError: the version is not larger than the current one.
            CheckpointError: names or shapes differ from a module's.
        """
        require(version > self.version, f"version {version} is published after {self.version}: expected a larger number")
        for node, module in self:
            if node in weights:
                check_weights(node, module, weights[node], f"version {version} of the weights",
                              f"publish the state dict of a {type(module).__name__} with the settings of {node}")

    def load(self, version: int, weights: Weights) -> None:
        """Load published weights, those of absent nodes left out.

        Raises as `check_published` does, with all modules unchanged.
        """
        self.check_published(version, weights)
        for node, module in self:
            if node in weights:
                module.load_state_dict(dict(weights[node]))
        for _, module in self:
            module.weights_changed()
        self.version = version


def published(graph: Graph, weights: Weights) -> Weights:
    """Return weights without the state that only learning needs.

    Raises:
        UnknownName: a node is not in the graph.
    """
    for node in weights:
        if node not in graph.order:
            raise unknown_name("node of published weights", node, graph.order)
    return {node: {name: value for name, value in state.items() if LEARNING_STATE not in name.split(".")}
            for node, state in weights.items()}


def devices_of(graph: Graph, nodes: Iterable[str],
               calls: Mapping[str, Mapping[str, str]]) -> dict[str, list[torch.device]]:
    """Return the devices on which a worker of these nodes holds each module: a node's own device first, if it fires here;
    then the devices of its callers, direct or indirect."""
    found: dict[str, list[torch.device]] = {}
    waiting = deque((node, graph.devices[node]) for node in nodes)
    while waiting:
        node, device = waiting.popleft()
        devices = found.setdefault(node, [])
        if device not in devices:
            devices.append(device)
            waiting += ((callee, device) for callee in calls[node].values())
    return found
