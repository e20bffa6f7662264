"""Unroll: fire some nodes tick by tick over recorded windows, with gradients, as they fire in an agent.

A module that keeps a carry, such as a memory with weights, is trained by the losses of other modules at later ticks. The
nodes fire in the graph's order, a `Mailbox` delivers their messages, and what the world and the actor sent is read from the
windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ami.blueprint import Perception, World
from ami.data.replay_buffer import ACTION, OBSERVATION, REWARD
from ami.errors import SettingError, require, suggestion
from ami.graph.graph import Graph
from ami.learning.collect import collected_ports
from ami.module import Batch, Episode, Module
from ami.runtime.mailbox import Mailbox

MOST_NUMBER = 2**31
PERCEPT = "percept"


class Unroll:
    """Fires nodes over windows.

    Args:
        graph: the agent's graph, with one world.
        nodes: the nodes to fire, in any order.
        modules: their modules, by node.
        where: the setting that names the nodes, for messages.

    Raises:
        UnknownName, SettingError: a node is missing, is slow, or reads what is neither unrolled nor recorded.
    """

    def __init__(self, graph: Graph, nodes: Sequence[str], modules: Mapping[str, Module], where: str) -> None:
        for node in nodes:
            if node not in modules:
                raise SettingError(f"{where} names '{node}'{suggestion(node, modules)}")
            require(graph.every[node] == 1, f"{where} names {node}, which fires every {graph.every[node]} ticks: expected "
                                            f"nodes that fire at every tick. Fix: leave it out, or graph.{node}.every=1")
        self._modules = {node: modules[node] for node in graph.order if node in nodes}
        self._mailbox = Mailbox(graph)
        world = graph.the(World)
        observation, _, action = collected_ports(graph)
        recorded = {observation: OBSERVATION, action: ACTION, f"{world}.{REWARD}": REWARD,
                    **{f"{node}.{PERCEPT}": PERCEPT for node in graph.nodes_of(Perception)}}
        self._recorded: dict[str, str] = {}
        for node in self._modules:
            for wire in graph.inputs[node]:
                sender = f"{wire.node}.{wire.port}"
                if wire.node in self._modules or wire.cut:
                    continue
                if sender not in recorded:
                    raise SettingError(f"{where} fires {node}, which reads {sender}: that is neither unrolled nor recorded. "
                                       f"Fix: add {wire.node} to {where}, or leave {node} out")
                self._recorded[sender] = recorded[sender]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return what every node sends, "node.port" (N, T + 1, …), over windows.

        Args:
            batch: "action" (N, T, A), and "observation" (N, T + 1, *O) or "percept" (N, T + 1, *P), as a source draws them.

        Raises:
            KeyError: the batch lacks a tensor that a node reads.
        """
        count, length = batch[ACTION].shape[:2]
        everyone = torch.ones(count, dtype=torch.bool)
        episodes = [Episode(number, 0) for number in torch.randint(MOST_NUMBER, (count,)).tolist()]
        self._mailbox.open({node: module.inputs for node, module in self._modules.items()}, count)
        for module in self._modules.values():
            module.begin(everyone, episodes)
        sent: dict[str, list[Tensor]] = {}
        for tick in range(length + 1):
            self._mailbox.advance(tick)
            self._post_recorded(batch, tick)
            for node, module in self._modules.items():
                inputs, _ = self._mailbox.inputs(node, tick)
                outputs = module.step(**inputs)
                self._mailbox.post(node, tick, outputs)
                for port, value in outputs.items():
                    sent.setdefault(f"{node}.{port}", []).append(value)
        for module in self._modules.values():
            module.carry = {}
        return {name: torch.stack(values, dim=1) for name, values in sent.items()}

    def _post_recorded(self, batch: Batch, tick: int) -> None:
        """Post what the recorded nodes sent at a tick of the windows."""
        found: dict[str, dict[str, Tensor]] = {}
        for sender, name in self._recorded.items():
            node, _, port = sender.partition(".")
            found.setdefault(node, {})[port] = _at(batch[name], name, tick)
        for node, outputs in found.items():
            self._mailbox.post(node, tick, outputs)


def _at(rows: Tensor, name: str, tick: int) -> Tensor:
    """Return what was sent at a tick of windows of T steps; zeros where the windows do not reach: no action follows the last
    observation, and no reward came with the first."""
    if name == REWARD:
        return rows[:, tick - 1] if tick else torch.zeros_like(rows[:, 0])
    return rows[:, tick] if tick < rows.shape[1] else torch.zeros_like(rows[:, 0])
