"""Best effort: what is made for people after the work must not cost the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ami.errors import AmiError
from ami.terminal.console import Console


@contextmanager
def best_effort(console: Console, failed: str, fix: str) -> Iterator[None]:
    """Turn whatever the block raises into one warning line. Ctrl-C passes.

    Args:
        console: where the warning is printed.
        failed: what failed, such as "episodes.gif was not made".
        fix: how to make it later.
    """
    try:
        yield
    except Exception as error:  # a renderer, a codec, a font or a database may raise anything
        console.note(f"warning: {failed}: {reason(error)}. {fix}")


def reason(error: BaseException) -> str:
    """An error in one line, without its own remedy: the warning names one."""
    text = " ".join(str(error).split()).partition(" Fix: ")[0].rstrip(".")
    if not text:
        return type(error).__name__
    return text if isinstance(error, (AmiError, OSError)) else f"{type(error).__name__}: {text}"
