"""The command line: `ami run | train | graph | list | trace | ui`.

Here are the words of the command line and what Hydra does with them; what a command does is in the file it imports. Heavy
packages are imported inside the commands, so that `ami --help` is there at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ami.errors import AmiError, SettingError, suggestion, unknown_name
from ami.help import COMMANDS, OVERVIEW
from ami.trust import check_shadowing

if TYPE_CHECKING:
    from ami.config import Config

HYDRA_FLAGS = ("--multirun", "-m", "--cfg", "--resolve", "--info", "--config-dir", "-cd", "--hydra-help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 refused, 130 stopped by Ctrl-C."""
    os.umask(0o077)  # what a run leaves behind is its user's alone
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except AmiError as error:
        print(f"ami: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ami: stopped by Ctrl-C; what was written until now is whole and stays", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `ami list | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


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
    return {"graph": _graph, "list": _list, "trace": _trace, "ui": _ui}[command](rest)


# run and train: Hydra makes the folder, one or many -------------------------------------------------------------------


def _job(command: str, words: Sequence[str]) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from ami.config import Config, compose, forced, to_graph
    from ami.files import check_folder

    allow, rest = _take_allow(words)
    flags, overrides = _split(rest)
    for job in _jobs(overrides, many="--multirun" in flags or "-m" in flags):
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
            print(f"ami: {error}", file=sys.stderr)
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


def _jobs(overrides: Sequence[str], many: bool) -> list[list[str]]:
    """The overrides of each job: one, or the basic sweeper's product."""
    if not many:
        return [list(overrides)]
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from ami.config import forced

    parsed = OverridesParser.create().parse_overrides(forced(overrides))
    if any(override.key_or_group == "hydra/sweeper" for override in parsed):
        # only that sweeper knows what it will try: what is fixed is checked now, the rest when each job starts
        return [[str(override.input_line) for override in parsed if not override.is_sweep_override()]]
    return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def _take_allow(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """`--allow mypkg.` may stand anywhere, and more than once."""
    parser = _parser("run")
    parser.add_argument("--allow", action="append", default=[])
    found, rest = parser.parse_known_args(list(words))
    return found.allow, rest


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags and the overrides. A folder of the user's own leaves becomes part of the search path."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        name, _, value = word.partition("=")
        if not word.startswith("-"):
            overrides.append(word)
        elif name not in HYDRA_FLAGS:
            menu = [*HYDRA_FLAGS, "--allow", "--help"]
            is_near = "did you mean" in suggestion(name, menu)
            raise unknown_name("flag", name, menu, "" if is_near else "Cure for a setting: no dashes, seed=1")
        elif name in ("--config-dir", "-cd"):
            value = value or next(rest, "")
            folder = Path(value).resolve()
            if not value or not folder.is_dir():
                raise SettingError(f"--config-dir names '{value}': expected a folder that holds groups of leaves")
            overrides.append(f"hydra.searchpath=[file://{folder}]")
        else:
            flags.append(word)
            if name in ("--cfg", "--info") and not value:
                flags.append(next(rest, "job" if name == "--cfg" else "all"))
    return flags, overrides


@contextlib.contextmanager
def _argv(words: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before


# The other commands ---------------------------------------------------------------------------------------------------


def _graph(words: Sequence[str]) -> int:
    from ami.config import compose, to_graph
    from ami.drawing import FORMATS

    allow, rest = _take_allow(words)
    parser = _parser("graph")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--format", default="text")
    parser.add_argument("--out", type=Path)
    given = parser.parse_intermixed_args(rest)
    if given.format not in FORMATS:
        raise unknown_name("format", given.format, FORMATS)
    graph = to_graph(compose(given.overrides, allow=allow))
    for warning in graph.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    drawing = FORMATS[given.format](graph)
    if given.out is None:
        print(drawing)
    else:
        from ami.files import write_atomically

        try:
            write_atomically(given.out, drawing + "\n")
        except OSError as error:
            raise SettingError(f"--out is '{given.out}': expected a file that can be written ({error.strerror})") from None
        print(f"wrote {given.out}")
    return 0


def _list(words: Sequence[str]) -> int:
    from ami.menu import CHAPTERS, menu

    parser = _parser("list")
    parser.add_argument("chapter", nargs="?")
    chapter = parser.parse_args(words).chapter
    if chapter is not None and chapter not in CHAPTERS:
        raise unknown_name("chapter", chapter, CHAPTERS)
    print(menu(chapter))
    return 0


def _trace(words: Sequence[str]) -> int:
    parser = _parser("trace")
    parser.add_argument("action")
    parser.add_argument("run", type=Path)
    parser.add_argument("--tick", type=int)
    parser.add_argument("--wave", type=int, default=0)
    parser.add_argument("--node")
    given = parser.parse_args(words)
    if given.action != "show":
        raise unknown_name("action of `ami trace`", given.action, ("show",))
    from ami.tracing.show import show

    show(given.run, given.tick, given.wave, given.node)
    return 0


def _ui(words: Sequence[str]) -> int:
    from ami.ui import serve

    parser = _parser("ui")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--store", type=Path, default=Path("runs"))
    given = parser.parse_args(words)
    return serve(given.store, given.port)


class _Parser(argparse.ArgumentParser):
    """Reads the words of one command; `ami.help` has the text of `--help`."""

    def error(self, message: str) -> NoReturn:
        raise SettingError(f"{message}. `{self.prog} --help` explains it.")


def _parser(command: str) -> argparse.ArgumentParser:
    return _Parser(prog=f"ami {command}", add_help=False, allow_abbrev=False)


if __name__ == "__main__":
    sys.exit(main())
