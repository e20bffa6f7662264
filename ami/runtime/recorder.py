"""Recorder: receives every invocation of a worker's nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor


class Recorder(Protocol):
    """Receives every invocation of a worker's nodes."""

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor],
            ages: Sequence[int] = ()) -> None:
        """Record one invocation; its messages may change after the call.

        `ages` holds the number of ticks since each input was sent, per uncut wire into the node in the order of
        `Graph.inputs`; -1 for a wire's initial value. Empty: unknown.
        """

    def notes(self, node: str) -> dict[str, Tensor] | None:
        """Return the dict for a node's further figures, read at its next `add`; None if they are not recorded."""

    def publish(self, version: int) -> None:
        """Record later invocations with this version of the weights; 0 before the first call."""

    def flush(self) -> None:
        """Wait until every invocation so far is written."""

    def close(self) -> None: ...


class NoTrace:
    """Records nothing."""

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor],
            ages: Sequence[int] = ()) -> None:
        pass

    def notes(self, node: str) -> dict[str, Tensor] | None:
        return None

    def publish(self, version: int) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
