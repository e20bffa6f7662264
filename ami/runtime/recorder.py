"""What a worker tells of every invocation, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class Recorder(Protocol):
    """What a worker tells of every invocation."""

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor]) -> None:
        """One invocation; its messages stay as they are until `keep` is called."""

    def keep(self) -> None:
        """The worker is done for this tick: from now on a message may change, so a recorder that needs it has a copy."""

    def notes(self, node: str) -> dict[str, Tensor] | None:
        """Where a node may put figures before it is told of; None where they would not be kept."""

    def close(self) -> None: ...


class NoTrace:
    """Records nothing."""

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor]) -> None:
        pass

    def keep(self) -> None:
        pass

    def notes(self, node: str) -> dict[str, Tensor] | None:
        return None

    def close(self) -> None:
        pass
