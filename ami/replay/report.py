"""What `ami replay` says: identical or where and why not, one mind's decisions beside another's, two lives with one past."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import fmean

from rich import box
from rich.console import Console as Terminal
from rich.table import Table

from ami.errors import SettingError
from ami.evaluation.statistics import mean_interval
from ami.replay.fork import Fork, Life, fork
from ami.replay.recording import Recording
from ami.replay.reexecute import again
from ami.replay.substitute import Swap, TickOutputs, swap
from ami.storage.files import private_files
from ami.terminal.console import Console
from ami.terminal.text import terminal as make_terminal

REPLAYS = "replays"


def replay(run: Path, *, overrides: Sequence[str] = (), swapping: bool = False, tick: int | None = None, wave: int = 0,
           out: Path | None = None, allow: Sequence[str] = (), console: Console | None = None) -> bool:
    """Execute a recording anew, with another module in it, or let it go on differently; print what came of it.

    Args:
        run: the recorded run's folder.
        overrides: what differs.
        swapping: whether the other mind is given the recorded inputs.
        tick: from which tick on the world goes on with the other mind.
        wave: which wave is forked.
        out: where the new trace goes; by default a new folder in `RUN/replays`.
        allow: as in `ami.config.compose.compose`.
        console: where progress is shown.

    Returns:
        Whether a recording that was executed as it was said the same; True for the others.

    Raises:
        TraceError, SettingError, UnknownName, GraphError, CheckpointError: see `Recording.open`, `swap` and `fork`.
    """
    terminal = make_terminal()
    with private_files():
        recording = Recording.open(run, allow)
        kind = "swap" if swapping else "again" if tick is None else f"fork-{wave}-{tick}"
        with _whole(out or _new(run, kind, overrides)) as folder:
            if tick is not None:
                _print_fork(terminal, recording, fork(recording, wave, tick, overrides, folder, console), overrides)
                return True
            if swapping:
                _print_swap(terminal, recording, swap(recording, overrides, folder, console), overrides)
                return True
            done = again(recording, folder)
    same = done.first is None
    what = f"{done.messages:,} messages of {done.ticks:,} ticks executed anew on what the world showed"
    terminal.print(f"identical: {what}" if same else f"different: {what}; they part at {done.first}", soft_wrap=True)
    if not same:
        terminal.print(f"because: {done.cause()}", soft_wrap=True)
        terminal.print(f"by how much: ami trace diff {run} {done.folder}", style="dim", soft_wrap=True)
    return same


def _print_swap(terminal: Terminal, recording: Recording, found: Swap, overrides: Sequence[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", show_header=False,
                  title=f"{' '.join(overrides)}: its decisions beside the recorded ones, {len(found.moments):,} in all")
    table.add_row("executed a second time", ", ".join(found.nodes))
    of_all = "equal choices" if found.choices else "mean cosine of the actions"
    table.add_row(of_all, f"{found.agreement:.3f}")
    if not found.choices:
        table.add_row("mean distance of the actions", f"{found.apart:.3f}")
    planned, gaps = found.planned, found.gaps
    table.add_row("both planned in", f"{len(planned):,} of the decisions")
    if 0 < len(planned) < len(found.moments):
        table.add_row(f"{of_all}, in those", f"{fmean(moment.alike for moment in planned):.3f}")
    if found.promises_more is not None:
        low, high = mean_interval(gaps)
        table.add_row("energy of its plans less the recorded ones', in those",
                      f"{fmean(gaps):+.4g} [{low:+.4g}, {high:+.4g}]")
        table.add_row("its plan promises more in", f"{100 * found.promises_more:.0f} % of those")
    else:
        table.add_row("energies", f"not comparable: {found.incomparable or 'in no decision did both minds plan'}")
    table.add_row("they part most at", ", ".join(map(_told, found.most_apart())))
    terminal.print(table)
    drift = found.drift()
    if drift is not None:
        terminal.print(f"warning: {drift}", style="yellow", soft_wrap=True)
    _where(terminal, recording, found.folder)


def _told(moment: TickOutputs) -> str:
    return f"wave {moment.wave} tick {moment.tick} row {moment.row} ({moment.apart:.2f})"


def _print_fork(terminal: Terminal, recording: Recording, done: Fork, overrides: Sequence[str]) -> None:
    table = Table("from there on", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left",
                  title=f"wave {done.wave} forked at tick {done.tick}: "
                        f"{len(done.rows)} {'world that was' if len(done.rows) == 1 else 'worlds that were'} not over")
    for name in ("solved", "mean return", "mean steps"):
        table.add_column(name, justify="right")
    for name, lives in (("as recorded", done.recorded), (" ".join(overrides) or "the same again", done.forked)):
        table.add_row(name, *_figures(lives))
    terminal.print(table)
    differ = sum(one.success != two.success for one, two in zip(done.recorded, done.forked, strict=True))
    terminal.print(f"{differ} of {len(done.rows)} ended otherwise")
    if done.fresh:
        terminal.print(f"begun without a past, being other modules: {', '.join(done.fresh)}")
    _where(terminal, recording, done.folder)
    terminal.print(f"to its own end: ami view {done.folder}", style="dim", soft_wrap=True)


def _figures(lives: Sequence[Life]) -> tuple[str, str, str]:
    return (str(sum(life.success for life in lives)), f"{fmean(life.ret for life in lives):.4g}",
            f"{fmean(life.steps for life in lives):.1f}")


def _where(terminal: Terminal, recording: Recording, folder: Path) -> None:
    terminal.print(f"tick by tick: ami trace diff {recording.folder} {folder}\n"
                   f"side by side: ami view {recording.folder} --beside {folder}", style="dim", soft_wrap=True)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A new folder that is gone again where its replay is refused or stopped: half a trace would say that they part."""
    if folder.exists():
        raise SettingError(f"--out is '{folder}', which is there already. Fix: another folder, or delete it")
    made = [path for path in folder.absolute().parents if not path.exists()]
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise SettingError(f"the replay goes to '{folder}': expected a folder that can be made ({error.strerror}). "
                           "Fix: --out FOLDER, another one") from None
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another replay may have begun in one of them
            for parent in made:
                parent.rmdir()
        raise


def _new(run: Path, kind: str, overrides: Sequence[str]) -> Path:
    """A folder for a replay that is not there yet, named after what differs."""
    name = re.sub(r"[^\w.=,-]+", "_", "-".join([kind, *overrides]))[:100]
    numbered = (run / REPLAYS / (name if number == 1 else f"{name}-{number}") for number in range(1, 10_000))
    return next(folder for folder in numbered if not folder.exists())
