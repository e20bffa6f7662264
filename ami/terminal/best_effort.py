"""Best effort: a failure of plots, video or MLflow after the work must not lose the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ami.errors import AmiError
from ami.terminal.console import Console


@contextmanager
def best_effort(console: Console, failed: str, fix: str) -> Iterator[None]:
    """Turn an exception in the block into one warning line. Ctrl-C passes through.

    Args:
        console: where the warning is printed.
        failed: the failure, such as "episodes.gif was not made".
        fix: the fix, such as how to make it later.
    """
    try:
        yield
    except Exception as error:  # a renderer, a codec, a font or a database may raise anything
        console.note(f"warning: {failed}: {reason(error)}. {fix}")


def reason(error: BaseException) -> str:
    """Return an error in one line, without its own fix, since the warning names one."""
    text = " ".join(str(error).split()).partition(" Fix: ")[0].rstrip(".")
    if not text:
        return type(error).__name__
    return text if isinstance(error, (AmiError, OSError)) else f"{type(error).__name__}: {text}"
