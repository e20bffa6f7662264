"""Terminal output of `ami replay`: a re-execution, a substitution or a fork, compared with the recording."""

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
from ami.replay.fork import EpisodeProgress, Fork, fork
from ami.replay.recording import Recording
from ami.replay.reexecute import reexecute
from ami.replay.substitute import Swap, TickOutputs, swap
from ami.storage.files import private_files
from ami.terminal.console import Console
from ami.terminal.text import terminal as make_terminal

REPLAYS = "replays"


def replay(run: Path, *, overrides: Sequence[str] = (), swapping: bool = False, tick: int | None = None, wave: int = 0,
           out: Path | None = None, allow: Sequence[str] = (), console: Console | None = None) -> bool:
    """Re-execute a recording, substitute a module, or fork the run; print the result.

    Args:
        run: the recorded run's folder.
        overrides: the changes.
        swapping: substitute: give the recorded inputs to the changed agent.
        tick: fork: first tick of the changed agent in the world; None does not fork.
        wave: wave of the fork.
        out: folder for the new trace; by default a new folder in `RUN/replays`.
        allow: as in `ami.config.compose.compose`.
        console: for progress.

    Returns:
        Whether a re-execution is identical to the recording; True for a substitution or a fork.

    Raises:
        TraceError, SettingError, UnknownName, GraphError, CheckpointError: see `Recording.open`, `swap` and `fork`.
    """
    terminal = make_terminal()
    with private_files():
        recording = Recording.open(run, allow)
        kind = "swap" if swapping else "replay" if tick is None else f"fork-{wave}-{tick}"
        with _whole(out or _new(run, kind, overrides)) as folder:
            if tick is not None:
                _print_fork(terminal, recording, fork(recording, wave, tick, overrides, folder, console), overrides)
                return True
            if swapping:
                _print_swap(terminal, recording, swap(recording, overrides, folder, console), overrides)
                return True
            done = reexecute(recording, folder)
    same = done.first is None
    what = f"{done.messages:,} messages of {done.ticks:,} ticks, re-executed on the recorded world outputs"
    terminal.print(f"identical: {what}" if same else f"different: {what}; first difference at {done.first}", soft_wrap=True)
    if not same:
        terminal.print(f"because: {done.cause()}", soft_wrap=True)
        terminal.print(f"by how much: ami trace diff {run} {done.folder}", style="dim", soft_wrap=True)
    return same


def _print_swap(terminal: Terminal, recording: Recording, found: Swap, overrides: Sequence[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", show_header=False,
                  title=f"{' '.join(overrides)}: decisions compared with the recorded ones, {len(found.moments):,} in all")
    table.add_row("re-executed", ", ".join(found.nodes))
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
        table.add_row("energy of its plans minus the recorded, in those",
                      f"{fmean(gaps):+.4g} [{low:+.4g}, {high:+.4g}]")
        table.add_row("its plan has less energy in", f"{100 * found.promises_more:.0f} % of those")
    else:
        table.add_row("energies", f"not comparable: {found.incomparable or 'both agents planned in no decision'}")
    table.add_row("largest differences at", ", ".join(map(_place, found.most_apart())))
    terminal.print(table)
    drift = found.drift()
    if drift is not None:
        terminal.print(f"warning: {drift}", style="yellow", soft_wrap=True)
    _where(terminal, recording, found.folder)


def _place(moment: TickOutputs) -> str:
    return f"wave {moment.wave} tick {moment.tick} row {moment.row} ({moment.apart:.2f})"


def _print_fork(terminal: Terminal, recording: Recording, done: Fork, overrides: Sequence[str]) -> None:
    table = Table("from the fork on", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left",
                  title=f"wave {done.wave} forked at tick {done.tick}: "
                        f"{len(done.rows)} {'episode' if len(done.rows) == 1 else 'episodes'} in progress")
    for name in ("solved", "mean return", "mean steps"):
        table.add_column(name, justify="right")
    for name, outcomes in (("as recorded", done.recorded), (" ".join(overrides) or "unchanged", done.forked)):
        table.add_row(name, *_figures(outcomes))
    terminal.print(table)
    differ = sum(one.success != two.success for one, two in zip(done.recorded, done.forked, strict=True))
    terminal.print(f"{differ} of {len(done.rows)} with another outcome")
    if done.fresh:
        terminal.print(f"started with an empty carry, since the agent differs: {', '.join(done.fresh)}")
    _where(terminal, recording, done.folder)
    terminal.print(f"the fork alone: ami view {done.folder}", style="dim", soft_wrap=True)


def _figures(outcomes: Sequence[EpisodeProgress]) -> tuple[str, str, str]:
    return (str(sum(one.success for one in outcomes)), f"{fmean(one.ret for one in outcomes):.4g}",
            f"{fmean(one.steps for one in outcomes):.1f}")


def _where(terminal: Terminal, recording: Recording, folder: Path) -> None:
    terminal.print(f"tick by tick: ami trace diff {recording.folder} {folder}\n"
                   f"side by side: ami view {recording.folder} --reference {folder}", style="dim", soft_wrap=True)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Create a folder; delete it if the replay fails or is interrupted: a partial trace would look like a difference."""
    if folder.exists():
        raise SettingError(f"--out is '{folder}', which already exists. Fix: another folder, or delete it")
    made = [path for path in folder.absolute().parents if not path.exists()]
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise SettingError(f"the replay goes to '{folder}': expected a folder that can be created ({error.strerror}). "
                           "Fix: --out FOLDER, another one") from None
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another replay may have started in one of them
            for parent in made:
                parent.rmdir()
        raise


def _new(run: Path, kind: str, overrides: Sequence[str]) -> Path:
    """Return a new folder for a replay, named after its changes."""
    name = re.sub(r"[^\w.=,-]+", "_", "-".join([kind, *overrides]))[:100]
    numbered = (run / REPLAYS / (name if number == 1 else f"{name}-{number}") for number in range(1, 10_000))
    return next(folder for folder in numbered if not folder.exists())
