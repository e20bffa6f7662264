"""Episodes for tests."""

from __future__ import annotations

from collections.abc import Iterable

from ami.module import Episode


def numbered(numbers: Iterable[int]) -> list[Episode]:
    """Return one episode per number, which is also its seed."""
    return [Episode(number, seed=number) for number in numbers]
