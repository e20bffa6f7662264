"""The command line: `ami run | train | export | compare | check | graph | list | trace | view | replay | ui`.

`ami.cli.parsers` declares the commands. `run` and `train` are in `ami.cli.launch`, the others in `ami.cli.commands` and
`ami.cli.trace`. Heavy packages are imported inside the commands, so that `ami --help` is fast.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from ami.cli.arguments import Parser
from ami.cli.parsers import all_parsers
from ami.config.trust import check_shadowing
from ami.envs.last_words import last_words
from ami.envs.output import apart
from ami.errors import AmiError, SettingError, unknown_name
from ami.graph.faults import TRACEBACK, raised
from ami.terminal.text import escaped, finish_streams, prepare_streams, report

HELP = ("-h", "--help", "help")
FULL = (errno.ENOSPC, errno.EDQUOT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 a check found a broken promise, 2 refused or failed, 3 a fault in ami itself, 130 stopped by
        Ctrl-C. A closed or full terminal does not change the code of a command that writes its results to the disk.
    """
    os.umask(0o077)  # files of a run are readable by their user alone
    prepare_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    with _watching_ctrl_c() as signals:
        try:
            with apart():
                code = _dispatch(words)
        except BrokenPipeError:  # as in `ami list | head`
            code = 0
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if signals or _is_stopped(error):
                report("stopped by Ctrl-C; what was written until now is whole and stays")
                code = 130
            elif isinstance(error, SystemExit):
                code = error.code if isinstance(error.code, int) else 1
            elif _is_of_stream(error) and (fault := finish_streams(is_suspect=True)):
                report(fault)
                code = 2
            else:
                code = _explain(error)
    if (fault := finish_streams()) and words[:1] not in (["run"], ["train"], ["compare"]):
        report(fault)
        return code or 2
    return code


def _explain(error: BaseException) -> int:
    """Print an error as one line, after its traceback if AMI_TRACEBACK is set, and return the exit code."""
    if os.environ.get(TRACEBACK):
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exception(error)
    if isinstance(error, AmiError):
        report(escaped(str(error)))
        return 2
    if isinstance(error, (OSError, MemoryError)):  # a fault of the machine, not of ami: its text names the file
        fix = "room on this disk, or another store" if getattr(error, "errno", 0) in FULL else (
            f"{TRACEBACK}=1 prints where it happened")
        text = "out of memory" if isinstance(error, MemoryError) else str(error)
        report(escaped(f"{text}; what was written until now is whole and stays. Fix: {fix}"))
        return 2
    report(escaped(f"a fault in ami, or in a package that it uses: {raised(error)}. "
                   f"Fix: report it with what {TRACEBACK}=1 prints"))
    return 3


@contextlib.contextmanager
def _watching_ctrl_c() -> Iterator[list[int]]:
    """Record Ctrl-C: a compiled package may swallow the signal during its import and raise another error later."""
    signals: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield signals  # the caller has a handler of its own
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, stop)
    try:
        yield signals
    finally:
        signal.signal(signal.SIGINT, before)


def _is_of_stream(error: BaseException) -> bool:
    """Return whether standard output may have failed: its errors name no file. A TrustError is an OSError too."""
    return isinstance(error, OSError) and not isinstance(error, AmiError) and error.filename is None


def _is_stopped(error: BaseException | None) -> bool:
    """Return whether the error is Ctrl-C, or was raised by a library while handling it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _dispatch(words: list[str]) -> int:
    parser = all_parsers()
    if not words or words[0] in HELP:
        print(parser.format_help())
        return 0
    if words[0] == "--version":
        from ami import __version__

        print(f"ami {__version__}")
        return 0
    command, rest = words[0], words[1:]
    if command not in parser.commands:
        raise unknown_name("command", command, parser.commands, "`ami --help` explains them.")
    chosen = parser.commands[command]
    if any(word in HELP for word in rest[:1] if chosen.commands) or "-h" in rest or "--help" in rest:
        print(chosen.within(rest).format_help())
        return 0
    try:
        Path.cwd()
    except OSError:
        raise SettingError("the current folder is gone: it was deleted, or renamed and deleted. Fix: cd to one that "
                           "exists") from None
    check_shadowing()
    with last_words() if command in ("run", "train", "compare", "check", "replay", "collect") else contextlib.nullcontext():
        return _do(command, chosen, rest)


def _do(command: str, parser: Parser, words: list[str]) -> int:
    """Parse the words of a command and run it; its packages are imported now."""
    if command in ("run", "train"):
        given = parser.read(words)
        from ami.cli.launch import launch, resume

        if command == "run" and given.resume is not None:
            return resume(given)
        return launch(command, given, words)
    from ami.cli import commands
    from ami.cli import trace as trace_commands

    if command == "trace":
        action = words[0] if words else ""
        if action not in parser.commands:
            raise unknown_name("action of `ami trace`", action, parser.commands) if action else SettingError(
                f"`ami trace` lacks an action: expected one of {', '.join(parser.commands)}. Fix: ami trace show RUN")
        return trace_commands.ACTIONS[action](parser.commands[action].read(words[1:]))
    from ami.cli import data as data_commands

    if command == "data":
        action = words[0] if words else ""
        if action not in parser.commands:
            raise unknown_name("action of `ami data`", action, parser.commands) if action else SettingError(
                "`ami data` lacks an action: expected show. Fix: ami data show FILE")
        return data_commands.ACTIONS[action](parser.commands[action].read(words[1:]))
    does: dict[str, Callable[[Namespace], int]] = {
        "export": commands.export, "compare": commands.compare, "check": commands.check, "graph": commands.graph,
        "list": commands.list_choices, "view": trace_commands.view, "replay": commands.replay, "plot": commands.plot,
        "collect": data_commands.collect,
        "ui": commands.ui}
    return does[command](parser.read(words))


if __name__ == "__main__":
    sys.exit(main())
