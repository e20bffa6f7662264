"""Safe terminal output: a closed, full or non-UTF-8 terminal does not stop the work, and text from files cannot control it.

A run folder may come from an untrusted source. An escape sequence in one of its names would set the window's title, move the
cursor or reverse the reading direction. Non-printable characters are shown as Python escapes, `\\x1b` or `\\u202e`.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult


def escaped(text: str, keep: str = "\n") -> str:
    """Escape control characters, bidirectional marks and other invisible characters; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode() for sign in text)


PLAIN = {
    **dict.fromkeys("–—─━═╌╍┄┅┈┉╴╶╸╺", "-"), **dict.fromkeys("│┃║╎╏╵╷╹╻", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╈╔╗╚╝╭╮╯╰╞╡╪", "+"),
    **dict.fromkeys("▶►→", ">"), **dict.fromkeys("◀◄←", "<"), "⇄": "<>", "…": "...", "·": ".", "•": "*", "×": "x", "±": "+-",
    "≤": "<=", "≥": ">=", "²": "2", "’": "'", "“": '"', "”": '"', "↑": "^", "↓": "v", "▲": "^", "▼": "v", "█": "#",
}
"""ASCII substitutes for characters missing in a terminal's encoding."""
_HANDLER = "ami.plain"


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start:error.end]
    return "".join(PLAIN.get(sign) or ascii(sign)[1:-1] for sign in signs), error.end


codecs.register_error(_HANDLER, _in_plain_signs)


def prepare_streams() -> None:
    """Make the standard streams safe to print to.

    A closed stream is redirected to the null device; otherwise the next opened file would get its number and receive the
    output. A character missing in the stream's encoding is replaced by one or more ASCII characters.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def finish_streams(is_suspect: bool = False) -> str:
    """Flush the streams. A stream that fails is redirected to the null device.

    Without this, Python would print its own traceback at exit and change the exit code.

    Args:
        is_suspect: whether a write failed before; an empty line then tests standard output.

    Returns:
        The reason why standard output cannot be written, or an empty text.
    """
    fault = ""
    for stream in (sys.stdout, sys.stderr):
        try:
            if is_suspect and stream is sys.stdout:
                stream.write("\n")
            stream.flush()
        except (OSError, ValueError) as error:
            if stream is sys.stdout and not isinstance(error, BrokenPipeError):  # `ami list | head` is no fault
                fault = f"standard output cannot be written ({getattr(error, 'strerror', None) or error})"
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return fault


class Stdout:
    """Standard output that becomes silent at its first failure, so that the work continues."""

    def __init__(self) -> None:
        self.has_failed = False

    def write(self, text: str) -> int:
        """Print, unless an earlier write failed."""
        self._try(lambda: sys.stdout.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, unless an earlier write failed."""
        self._try(lambda: sys.stdout.flush())

    def __getattr__(self, name: str) -> object:  # isatty, encoding, fileno: used by rich
        return getattr(sys.stdout, name)

    def _try(self, write: Callable[[], object]) -> None:
        if self.has_failed:
            return
        try:
            write()
        except (OSError, ValueError) as error:
            self.has_failed = True
            if not isinstance(error, BrokenPipeError):
                report(f"standard output cannot be written ({getattr(error, 'strerror', None) or error}); "
                       "the work continues")


def report(sentence: str) -> None:
    """Print one line to stderr during some work; a closed terminal does not stop it."""
    with suppress(OSError, ValueError):
        print(f"ami: {sentence}", file=sys.stderr, flush=True)


def terminal(quiet: bool = False, markup: bool = False) -> Console:
    """Return a console that escapes its output; brackets are markup only with `markup`, for ami's own text."""
    from rich.console import Console

    console = Console(file=Stdout(), quiet=quiet, highlight=False, markup=markup, emoji=False)  # type: ignore[arg-type]
    console.push_render_hook(_Escaping())  # type: ignore[arg-type]  # its base class would import rich here
    return console


class _Escaping:
    """A render hook that escapes a console's text, but not the console's own colours."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Escaped(each) for each in renderables]


class _Escaped:
    def __init__(self, content: ConsoleRenderable) -> None:
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        segments: Iterable[Segment] = console.render(self.content, options)
        for text, style, control in segments:
            yield Segment(text if control else escaped(text), style, control)
