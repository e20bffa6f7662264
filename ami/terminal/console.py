"""Terminal output during a run: progress bars, notes, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from ami.terminal.text import terminal

if TYPE_CHECKING:
    from ami.learning.stage import Stage

Figures = Mapping[str, float | str]
OnLearn = Callable[["Stage", int, Figures | None], None]


SHOWN = ("episodes", "loss", "std", "probe_r2", "success")
"""The figures shown in a bar; the learning curves hold all of them."""


class Console:
    """Writes to the terminal.

    Args:
        quiet: write nothing, for notebooks, scripts and tests.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.rich = terminal(quiet, markup=True)

    def note(self, text: str) -> None:
        """Print one line unchanged: long paths are not wrapped, and brackets are not markup."""
        self.rich.print(text, markup=False, emoji=False, soft_wrap=True)

    def table(self, table: RenderableType) -> None:
        """Print a table between empty lines."""
        self.rich.print()
        self.rich.print(table)
        self.rich.print()

    @contextmanager
    def counting(self, what: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
        """Show a progress bar; the yielded function takes the number of newly finished items and a text for the bar."""
        with self._progress() as progress:
            task = progress.add_task(what, total=total, figures=unit)

            def on_progress(more: int, figures: str) -> None:
                progress.update(task, advance=more, figures=figures or unit)

            yield on_progress
            progress.refresh()

    @contextmanager
    def learning(self, stages: Sequence[Stage]) -> Iterator[OnLearn]:
        """Show one bar per stage, with its losses, the last probe's figures and steps per second."""
        with self._progress() as progress:
            tasks = {stage.name: progress.add_task(f"learn {stage.name}", start=False, total=stage.steps, figures="")
                     for stage in stages}
            shown: dict[str, dict[str, str]] = {stage.name: {} for stage in stages}

            def on_step(stage: Stage, step: int, figures: Figures | None) -> None:
                if figures is not None:
                    shown[stage.name] |= {name: f"{name.replace('_', ' ')} {float(figures[name]):.3g}"
                                          for name in SHOWN if name in figures}
                task = progress.tasks[tasks[stage.name]]
                if not task.started:
                    progress.start_task(task.id)
                speed = f"{task.speed:.0f}/s  " if task.speed else ""
                progress.update(tasks[stage.name], completed=step, figures=speed + "  ".join(shown[stage.name].values()))

            yield on_step

    def within(self, show: Callable[[str], None]) -> Console:
        """Return a console for one part of a longer work: `show` receives the state of its bars as text."""
        return _Within(show)

    def _progress(self) -> Progress:
        return Progress(TextColumn("{task.description}", table_column=Column(no_wrap=True)), BarColumn(bar_width=10),
                        MofNCompleteColumn(table_column=Column(no_wrap=True)),
                        TimeRemainingColumn(elapsed_when_finished=True, compact=True, table_column=Column(no_wrap=True)),
                        TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
                        console=self.rich)


class _Within(Console):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(quiet=True)
        self._show = show

    @contextmanager
    def counting(self, what: str, total: int, unit: str) -> Iterator[Callable[[int, str], None]]:
        done = 0

        def on_progress(more: int, figures: str) -> None:
            nonlocal done
            done += more
            self._show(f"{what} {done}/{total}")

        self._show(what)
        yield on_progress

    @contextmanager
    def learning(self, stages: Sequence[Stage]) -> Iterator[OnLearn]:
        yield lambda stage, step, figures: self._show(f"learn {stage.name} {step}/{stage.steps}")
