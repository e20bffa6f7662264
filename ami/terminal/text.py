"""The terminal: one that is closed, full or not UTF-8 costs no work, and text of a file cannot command it.

A run folder may be a stranger's. An escape sequence in one of its names would set the window's title, move the cursor or
reverse the reading direction. Every character that is not printable is shown as Python writes it, `\\x1b` or `\\u202e`.
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
    """Text without control characters, bidirectional marks and other invisible signs; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode() for sign in text)


PLAIN = {
    **dict.fromkeys("–—─━═╌╍┄┅┈┉╴╶╸╺", "-"), **dict.fromkeys("│┃║╎╏╵╷╹╻", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╈╔╗╚╝╭╮╯╰╞╡╪", "+"),
    **dict.fromkeys("▶►→", ">"), **dict.fromkeys("◀◄←", "<"), "⇄": "<>", "…": "...", "·": ".", "•": "*", "×": "x", "±": "+-",
    "≤": "<=", "≥": ">=", "²": "2", "’": "'", "“": '"', "”": '"', "↑": "^", "↓": "v", "▲": "^", "▼": "v", "█": "#",
}
"""What stands for a sign that a terminal's encoding does not have."""
_HANDLER = "ami.plain"


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start:error.end]
    return "".join(PLAIN.get(sign) or ascii(sign)[1:-1] for sign in signs), error.end


codecs.register_error(_HANDLER, _in_plain_signs)


def prepare_streams() -> None:
    """Make the standard streams safe to print to.

    A stream that is closed becomes one that goes nowhere: otherwise the next file that is opened gets its number, and what
    is printed lands in there. A sign that the stream's encoding does not have is printed as one or more that it has.
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
    """Print what is still held back. Afterwards printing is silent where it fails.

    Without it Python prints a traceback of its own at its end, and changes the exit code.

    Args:
        is_suspect: something could not be written: an empty line shows whether it was standard output.

    Returns:
        Why standard output cannot be written, or nothing.
    """
    fault = ""
    for stream in (sys.stdout, sys.stderr):
        try:
            if is_suspect and stream is sys.stdout:
                stream.write("\n")
            stream.flush()
        except (OSError, ValueError) as error:
            if stream is sys.stdout and not isinstance(error, BrokenPipeError):  # `ami list | head` has seen enough
                fault = f"standard output cannot be written ({getattr(error, 'strerror', None) or error})"
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return fault


class Stdout:
    """Standard output for the progress of some work: once it fails it is silent, for that is no reason to stop the work."""

    def __init__(self) -> None:
        self.has_failed = False

    def write(self, text: str) -> int:
        """Print, as long as that works."""
        self._try(lambda: sys.stdout.write(text))
        return len(text)

    def flush(self) -> None:
        """Print what is held back, as long as that works."""
        self._try(lambda: sys.stdout.flush())

    def __getattr__(self, name: str) -> object:  # isatty, encoding, fileno: what else rich asks a file for
        return getattr(sys.stdout, name)

    def _try(self, write: Callable[[], object]) -> None:
        if self.has_failed:
            return
        try:
            write()
        except (OSError, ValueError) as error:
            self.has_failed = True
            if not isinstance(error, BrokenPipeError):
                report(f"standard output cannot be written ({getattr(error, 'strerror', None) or error}); the work goes on")


def report(sentence: str) -> None:
    """One line on stderr, from the middle of some work: a terminal that is gone is no reason to stop it."""
    with suppress(OSError, ValueError):
        print(f"ami: {sentence}", file=sys.stderr, flush=True)


def terminal(quiet: bool = False, markup: bool = False) -> Console:
    """A console that escapes all that it prints; brackets are markup only where `markup` says so, for text of our own."""
    from rich.console import Console

    console = Console(file=Stdout(), quiet=quiet, highlight=False, markup=markup, emoji=False)  # type: ignore[arg-type]
    console.push_render_hook(_Escaping())  # type: ignore[arg-type]  # its base class would import rich here
    return console


class _Escaping:
    """Escapes what a console is about to print; the console's own colours are not part of the text."""

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
