"""Checked: a recorded mind that is executed anew, held against its record while it fires."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ami.runtime.recorder import NoTrace
from ami.trace.levels import WORLD
from ami.trace.log import hash_of
from ami.trace.reader import Difference, Trace


class Checked(NoTrace):
    """A recorder that holds every message's hash against a trace, of each node up to the first that differs.

    The world is played back and not held against anything.

    Attributes:
        parted: by node, where it says something else first, in the order in which they came to do so.
    """

    def __init__(self, trace: Trace) -> None:
        self.parted: dict[str, Difference] = {}
        self._fresh: list[tuple[str, int, int, Mapping[str, Tensor]]] = []
        self._said = {node: trace.said(node) for node in trace.tables if node != WORLD}

    @property
    def first(self) -> Difference | None:
        """Where they part; None while they have not."""
        return next(iter(self.parted.values()), None)

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor]) -> None:
        if node != WORLD:
            self._fresh.append((node, wave, tick, outputs))

    def keep(self) -> None:  # when the log copied them too: what was written into a message in between is in both
        for fresh in self._fresh:
            self._hold(*fresh)
        self._fresh.clear()

    def _hold(self, node: str, wave: int, tick: int, outputs: Mapping[str, Tensor]) -> None:
        if node in self.parted:
            return
        said = self._said.get(node, {}).get((wave, tick))
        if said is None:
            self.parted[node] = Difference(wave, tick, node, None)
            return
        for port in [*outputs, *(port for port in said if port not in outputs)]:
            if port not in outputs or port not in said or hash_of(outputs[port]) != said[port]:
                self.parted[node] = Difference(wave, tick, node, port)
                return
