"""Sheet: a table that fits its terminal without broken words.

Columns are set closer if that keeps them in one table; columns that still do not fit go into further tables below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_BREAKS = re.compile(r"(?<=[=,._/ ])(?=\S)")  # possible line breaks of a long name


@dataclass
class Sheet:
    """A title, rows of cells and a caption; rendered at the width of the console.

    Args:
        title, caption: plain text above and below.
        columns: the headers, starting with that of the names.
        rows: per row its name as plain text, its further cells as rich markup, and a style or None.
    """

    title: str
    columns: Sequence[str]
    caption: str = ""
    rows: list[tuple[str, Sequence[str], str | None]] = field(default_factory=list)

    def add(self, name: str, cells: Sequence[str], style: str | None = None) -> None:
        """Append a row: a name, and a cell for each further column."""
        self.rows.append((name, cells, style))

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.title, style="italic")
        wide, narrow = (list(self._groups(console, options, padding)) for padding in (1, 0))
        padding, groups = (0, narrow) if len(narrow) < len(wide) else (1, wide)
        for columns in groups:
            yield self._table(columns, options.max_width, padding)
        yield Text(self.caption, style="dim italic")

    def _groups(self, console: Console, options: ConsoleOptions, padding: int) -> Iterator[list[int]]:
        """Yield the columns of each table, without the names; a column too wide for any table has its own."""
        taken: list[int] = []
        for column in range(1, len(self.columns)):
            width = Measurement.get(console, options.update(max_width=10_000),
                                    self._table([*taken, column], options.max_width, padding)).maximum
            if taken and width > options.max_width:
                yield taken
                taken = []
            taken.append(column)
        yield taken

    def _table(self, columns: Sequence[int], width: int, padding: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, padding), pad_edge=False, collapse_padding=True)
        table.add_column(self.columns[0], no_wrap=True)
        for column in columns:
            table.add_column(self.columns[column], justify="right", no_wrap=True)
        for name, cells, style in self.rows:
            table.add_row(escape(lines(name, width // 2)), *(cells[column - 1] for column in columns), style=style)
        return table


def lines(name: str, width: int) -> str:
    """Split a name into lines of at most `width` cells, between words and after = , . _ and /."""
    if "\n" in name:
        return "\n".join(lines(line, width) for line in name.split("\n"))
    if cell_len(name) <= width:
        return name
    found = [""]
    for piece in _BREAKS.split(name):
        if found[-1] and cell_len(found[-1] + piece.rstrip()) > width:
            found.append("")
        found[-1] += piece
    return "\n".join(line.rstrip() for line in found)
