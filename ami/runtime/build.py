"""Build a module of a graph, and load its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.errors import CheckpointError, require
from ami.graph.devices import CPU, absent
from ami.graph.faults import blamed
from ami.graph.graph import Graph
from ami.module import Arrival, Module
from ami.rng import RowRNG, derive_seed


def build_module(graph: Graph, node: str, seed: int, device: torch.device = CPU) -> Module:
    """Build one module of the graph; its initial weights depend on the seed and the node's name alone.

    Raises:
        SettingError: this process cannot use the device.
        ModuleError: the module's own code failed.
    """
    why = absent(device)
    require(not why, f"{node} runs on {device}, {why}. Fix: graph.{node}.device=auto, or a machine that has it")
    with blamed(node, f"{graph.specs[node].name}()"):
        module: Module = graph.specs[node].make()
    module.random = RowRNG(seed, node)
    module.every = graph.every[node]
    if len(graph.outputs[node]) < len(module.outputs):
        module.outputs = {name: module.outputs[name] for name in graph.outputs[node]}
    module.arrivals = {wire.to_port: Arrival(graph.every[wire.node], wire.delay) for wire in graph.inputs[node]
                       if graph.every[wire.node] > 1 and not wire.cut}
    with torch.random.fork_rng(devices=[]), blamed(node, "build()"):
        torch.manual_seed(derive_seed(seed, node, "weights"))
        module.set_up(graph.dims[node], graph.actions.get(node))
    if device != CPU:
        module.move_to(device)
    return module


def load_weights(node: str, module: Module, weights: Mapping[str, Tensor]) -> None:
    """Load one node's weights; raises as `check_weights` does."""
    check_weights(node, module, weights)
    module.load_state_dict(dict(weights))


def check_weights(node: str, module: Module, weights: Mapping[str, Tensor], what: str = "the checkpoint",
                  fix: str = "retrain this agent, or load it with the settings it was trained with") -> None:
    """Check one node's weights.

    Args:
        node: the node's name.
        module: its module.
        weights: its state dict.
        what: what the weights are part of, for the message.
        fix: the message's fix.

    Raises:
        CheckpointError: names or shapes differ from the module's.
    """
    own = module.state_dict()
    wrong = [name for name in own if name not in weights or own[name].shape != weights[name].shape]
    wrong += [name for name in weights if name not in own]
    if wrong:
        raise CheckpointError(
            f"{what} does not fit {node} ({type(module).__name__}): {', '.join(wrong[:3])}"
            f"{' and more' if len(wrong) > 3 else ''} differ in name or shape. "
            f"Fix: {fix}")
