"""Held messages: a node with `on_failure: hold_last` sends its last messages again at a tick at which its step fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ami.errors import ModuleError
from ami.graph.graph import Graph
from ami.module import Module
from ami.terminal.text import report

Held = Mapping[str, tuple[int, str]]
"""By node, the number of ticks at which it held its messages, and the first error."""


class HeldMessages:
    """The nodes of a worker that hold their messages, and how often they did.

    Args:
        graph: the checked graph.
        nodes: the worker's nodes.
    """

    def __init__(self, graph: Graph, nodes: Iterable[str]) -> None:
        self._nodes = frozenset(node for node in nodes if graph.on_failure[node] == "hold_last")
        self._held: dict[str, tuple[int, str]] = {}

    def __contains__(self, node: str) -> bool:
        return node in self._nodes

    def hold(self, node: str, module: Module, carry: dict[str, Tensor], failed: ModuleError) -> None:
        """Note a failed step, and give the module back the carry that it had before."""
        count, first = self._held.get(node, (0, str(failed)))
        self._held[node] = count + 1, first
        module.carry = carry
        if module.notes:
            module.notes.clear()

    def taken(self) -> Held:
        """Return what was held since the last call."""
        held, self._held = self._held, {}
        return held


def report_held(held: Held) -> None:
    """Report held messages to the user."""
    for node, (count, first) in held.items():
        report(f"{node} held its last messages at {count} tick{'s' * (count > 1)} at which its step failed. The first: "
               f"{first}")
