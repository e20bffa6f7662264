"""Terminal text: content of files cannot control the terminal."""

from __future__ import annotations

import pytest
from rich.table import Table
from rich.text import Text

from ami.terminal.text import escaped, terminal

HOSTILE = "\x1b]0;owned\x07 \x9b31m \u202egnp.exe\u2069 \r \x7f"
SHOWN = r"\x1b]0;owned\x07 \x9b31m \u202egnp.exe\u2069 \r \x7f"


def test_non_printable_characters_are_escaped() -> None:
    assert escaped(HOSTILE) == SHOWN
    assert escaped("mean 3.5 µs → ▁█ 世界\n") == "mean 3.5 µs → ▁█ 世界\n"
    assert escaped("two\nlines", keep="") == r"two\nlines"


def test_a_console_escapes_texts_tables_and_styles(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal()
    console.width = 200
    table = Table("name")
    table.add_row(Text(HOSTILE, "bold"))
    for content in (HOSTILE, Text(HOSTILE, "red"), table):
        console.print(content, soft_wrap=True)
    printed = capsys.readouterr().out
    assert printed.count(r"\x1b]0;owned") == printed.count(r"\x9b31m \u202egnp.exe\u2069") == 3
    assert all(sign.isprintable() or sign == "\n" for sign in printed)


def test_brackets_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal().print("[bold]x[/bold] :smile:")
    assert capsys.readouterr().out == "[bold]x[/bold] :smile:\n"
