"""The terminal: text that comes from a file, printed so that it cannot command the terminal.

A run folder may be a stranger's. An escape sequence in one of its names would set the window's title, move the cursor or
reverse the reading direction. Every character that is not printable is shown as Python writes it, `\\x1b` or `\\u202e`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult


def escaped(text: str, keep: str = "\n") -> str:
    """Text without control characters, bidirectional marks and other invisible signs; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode() for sign in text)


def terminal(quiet: bool = False, markup: bool = False) -> Console:
    """A console that escapes all that it prints; brackets are markup only where `markup` says so, for text of our own."""
    from rich.console import Console

    console = Console(quiet=quiet, highlight=False, markup=markup, emoji=False)
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
