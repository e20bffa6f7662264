"""Send the output of environments to standard error, so that ami's own output can be piped."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

_here = threading.local()


class _Parted:
    """A standard output that redirects prints inside an environment to standard error, by thread."""

    def __init__(self, usual: TextIO) -> None:
        self.usual = usual

    def write(self, text: str) -> int:
        return (sys.stderr if getattr(_here, "depth", 0) else self.usual).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.usual, name)


class inside_environment:
    """A block in which an environment's code runs."""

    def __enter__(self) -> None:
        _here.depth = getattr(_here, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        _here.depth -= 1


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Reserve standard output for ami within the block."""
    usual: Any = sys.stdout
    sys.stdout = _Parted(usual)
    try:
        yield
    finally:
        sys.stdout = usual
