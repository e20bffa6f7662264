"""The command line: `ami run | train | export | compare | check | graph | list | trace | view | replay | ui`.

Here is the way from the words to a command, and what Hydra does for `run` and `train`; the other commands are in
`ami.commands` and `ami.trace_commands`, and what a command does is in the file it imports. Heavy packages are imported
inside the commands, so that `ami --help` is there at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ami.errors import AmiError, unknown_name
from ami.help import COMMANDS, OVERVIEW
from ami.terminal import escaped
from ami.trust import check_shadowing
from ami.words import split, take_allow, take_from

if TYPE_CHECKING:
    from ami.config import Config


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a check found a broken promise, 2 refused, 130 stopped by Ctrl-C."""
    os.umask(0o077)  # what a run leaves behind is its user's alone
    words = list(sys.argv[1:] if argv is None else argv)
    with _hearing_ctrl_c() as heard:
        try:
            return _dispatch(words)
        except BrokenPipeError:  # `ami list | head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (Exception, KeyboardInterrupt) as error:
            if heard or _is_stopped(error):
                print("ami: stopped by Ctrl-C; what was written until now is whole and stays", file=sys.stderr)
                return 130
            if isinstance(error, AmiError):
                print(escaped(f"ami: {error}"), file=sys.stderr)
                return 2
            raise


@contextlib.contextmanager
def _hearing_ctrl_c() -> Iterator[list[int]]:
    """Whether Ctrl-C came: a compiled package that is being imported may swallow it, and fail by it later."""
    heard: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield heard  # somebody else's business
        return

    def stop(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, stop)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def _is_stopped(error: BaseException | None) -> bool:
    """Whether it is Ctrl-C, or what a library made of it while it cleaned up."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(OVERVIEW)
        return 0
    command, rest = words[0], words[1:]
    if command == "--version":
        from ami import __version__

        print(f"ami {__version__}")
        return 0
    if command not in COMMANDS:
        raise unknown_name("command", command, COMMANDS, "`ami --help` explains them.")
    if "-h" in rest or "--help" in rest:
        print(COMMANDS[command])
        return 0
    check_shadowing()
    if command in ("run", "train"):
        return _job(command, rest)
    from ami import commands, trace_commands

    does = {"export": commands.export, "compare": commands.compare, "check": commands.check, "graph": commands.graph,
            "list": commands.list_choices, "trace": trace_commands.trace, "view": trace_commands.view,
            "replay": commands.replay, "plot": commands.plot, "ui": commands.ui}
    return does[command](rest)


# run and train: Hydra makes the folder, one or many -------------------------------------------------------------------


def _job(command: str, words: Sequence[str]) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from ami.config import Config, compose, forced, to_graph
    from ami.files import check_folder
    from ami.sweep import jobs

    allow, rest = take_allow(words)
    saved, rest = take_from(rest)
    flags, overrides = split(rest)
    if saved is not None:
        from ami.saved import SavedAgent

        overrides = SavedAgent.open(saved).run_overrides(overrides)
    for job in jobs(overrides) if "--multirun" in flags or "-m" in flags else [overrides]:
        asked = compose(job, allow=allow)  # refuse before the first of them starts, and before Hydra makes its folder
        to_graph(asked)
        check_folder(Path(asked.settings.store), "store")
    for name, _, value in (text.partition("=") for text in overrides if text.startswith("hydra.run.dir=")):
        check_folder(Path(value), name)

    def task(settings: DictConfig) -> None:
        job = HydraConfig.get()
        given = (*job.overrides.task, *(text for text in job.overrides.hydra if text.startswith("hydra.searchpath")))
        config, folder = Config(settings, given, tuple(allow)), Path(job.runtime.output_dir)
        try:
            config.validate()
            _do(command, config, folder)
        except AmiError as error:  # before Hydra writes a traceback of it
            print(escaped(f"ami: {error}"), file=sys.stderr)
            sys.exit(2)
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()  # Hydra made it; what was refused leaves nothing in it

    with _argv([f"ami {command}", *flags, *forced(overrides)]):
        try:
            hydra.main(version_base="1.3", config_path="pkg://configs", config_name="ami")(task)()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1
    return 0


def _do(command: str, config: Config, folder: Path) -> None:
    from ami import job
    from ami.console import Console

    (job.run if command == "run" else job.train)(config, folder, Console())


@contextlib.contextmanager
def _argv(words: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before


if __name__ == "__main__":
    sys.exit(main())
