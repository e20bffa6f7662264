"""The command line: `ami run | train | export | compare | check | graph | list | trace | view | replay | ui`.

Here is the way from the words to a command: `run` and `train` are in `ami.launch`, the other commands in `ami.commands` and
`ami.trace_commands`, and what a command does is in the file it imports. Heavy packages are imported
inside the commands, so that `ami --help` is there at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from ami.envs.output import apart
from ami.errors import AmiError, unknown_name
from ami.help import COMMANDS, OVERVIEW
from ami.terminal import escaped
from ami.trust import check_shadowing


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a check found a broken promise, 2 refused, 130 stopped by Ctrl-C."""
    os.umask(0o077)  # what a run leaves behind is its user's alone
    words = list(sys.argv[1:] if argv is None else argv)
    with _hearing_ctrl_c() as heard:
        try:
            with apart():
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
        from ami.launch import launch

        return launch(command, rest)
    from ami import commands, trace_commands

    does = {"export": commands.export, "compare": commands.compare, "check": commands.check, "graph": commands.graph,
            "list": commands.list_choices, "trace": trace_commands.trace, "view": trace_commands.view,
            "replay": commands.replay, "plot": commands.plot, "ui": commands.ui}
    return does[command](rest)


if __name__ == "__main__":
    sys.exit(main())
