"""Recorder that verifies a re-executed agent against its trace while it fires."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from ami.runtime.recorder import NoTrace
from ami.trace.log import hash_of
from ami.trace.reader import Difference, Trace


class Checked(NoTrace):
    """A recorder that compares every message's hash with a trace, for each node up to its first difference.

    The worlds are played back and not compared.

    Args:
        trace: the recorded trace.
        worlds: the nodes of its worlds.

    Attributes:
        parted: the first difference of each node, in the order of occurrence.
    """

    def __init__(self, trace: Trace, worlds: Collection[str]) -> None:
        self.parted: dict[str, Difference] = {}
        self._worlds = frozenset(worlds)
        self._recorded = {node: trace.hashes(node) for node in trace.tables if node not in self._worlds}

    @property
    def first(self) -> Difference | None:
        """The first difference; None so far without one."""
        return next(iter(self.parted.values()), None)

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor],
            ages: Sequence[int] = ()) -> None:
        if node in self._worlds or node in self.parted:
            return
        recorded = self._recorded.get(node, {}).get((wave, tick))
        if recorded is None:
            self.parted[node] = Difference(wave, tick, node, None)
            return
        for port in [*outputs, *(port for port in recorded if port not in outputs)]:
            if port not in outputs or port not in recorded or hash_of(outputs[port]) != recorded[port]:
                self.parted[node] = Difference(wave, tick, node, port)
                return
