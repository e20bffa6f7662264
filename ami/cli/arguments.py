"""The argument parser of a command: every flag with its help, errors with the fix, and help made from both.

`ami.cli.parsers` declares the commands. An argument that no flag takes is an override, `planner=cem`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ami.errors import AmiError, SettingError, shown, suggestion, unknown_name

KINDS: Mapping[Any, str] = {int: "a whole number", float: "a number"}
WIDEST, COLUMN = 118, 26
_LIKE_A_FLAG = re.compile(r"-(?!\d)")  # a number is a value
_TITLE = re.compile(r"^(arguments|flags):$", re.MULTILINE)
RENAMED_FLAGS = {"--beside": "--reference"}
"""Old name → new name of a flag."""


class Parser(argparse.ArgumentParser):
    """The parser of one command.

    Args:
        prog: "ami run".
        about: what the command does, in one sentence.
        takes_overrides: whether further arguments are overrides.
    """

    def __init__(self, prog: str, about: str = "", takes_overrides: bool = False) -> None:
        super().__init__(prog, add_help=False, allow_abbrev=False, formatter_class=_Format)
        self.about, self.takes_overrides = about, takes_overrides
        self.commands: dict[str, Parser] = {}
        self.declared: list[argparse.Action] = []
        self.sections: list[tuple[str, str | Callable[[], str]]] = []
        self.examples: tuple[str, ...] = ()
        self._arguments = self.add_argument_group("arguments")
        self._flags = self.add_argument_group("flags")
        self.flag("--help", "-h", help="print this help")

    def argument(self, name: str, help: str, *, of: Callable[[str], Any] = str, optional: bool = False) -> None:
        """Declare an argument without a flag: `argument("RUN", "a run's folder", of=Path)` is read as `given.run`."""
        self.declared.append(self._arguments.add_argument(name.lower(), metavar=name, help=_escaped(help), type=of,
                                                          nargs="?" if optional else None))

    def flag(self, *names: str, help: str, value: str = "", of: Callable[[str], Any] = str, default: Any = None,
             many: bool = False, required: bool = False, alone: str | None = None, to: str | None = None) -> None:
        """Declare a flag.

        Args:
            names: "--seeds", or several names of one flag.
            help: one sentence.
            value: the name of its value in the help, "FILE"; empty for a switch.
            of: makes the value from its text; raises a SettingError or UnknownName.
            default: the value if the flag is not given.
            many: whether it may be given several times; the value is then a list.
            required: whether it must be given.
            alone: the value if the flag is given without one.
            to: the attribute of the result that holds the value; by default the flag's name.
        """
        if not value:
            action = self._flags.add_argument(*names, help=_escaped(help), action="store_true")
        else:
            action = self._flags.add_argument(
                *names, help=_escaped(help), metavar=value, type=of, required=required, default=[] if many else default,
                action="append" if many else "store", nargs="?" if alone is not None else None, const=alone,
                dest=to or names[0].lstrip("-").replace("-", "_"))
        self.declared.append(action)

    def command(self, name: str, about: str, takes_overrides: bool = False) -> Parser:
        """Declare a command, or an action of one."""
        self.commands[name] = Parser(f"{self.prog} {name}", about, takes_overrides)
        return self.commands[name]

    def section(self, title: str, text: str | Callable[[], str]) -> None:
        """Add a section to the help; a function is called when the help is printed."""
        self.sections.append((title, text))

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the words of a command; `overrides` of the result holds those that no flag takes.

        Raises:
            SettingError, UnknownName: an argument is unknown, missing or invalid.
        """
        flags = {text for action in self.declared for text in action.option_strings}
        for name in (word.partition("=")[0] for word in words if _LIKE_A_FLAG.match(word)):
            if name not in flags:  # before argparse takes its value for an argument
                raise self._unknown(name)
        given, overrides = self.parse_known_args(list(words))
        if overrides and not self.takes_overrides:
            raise SettingError(f"unexpected {shown(overrides[0])}: expected `{self.line()}`")
        given.overrides = overrides
        return given

    def within(self, words: Sequence[str]) -> Parser:
        """Return the parser of the action that the words name, or this one."""
        return next((self.commands[word] for word in words if word in self.commands), self)

    def line(self) -> str:
        """Return the command in one line: "ami replay RUN [overrides] [flags]"."""
        words = [self.prog]
        for action in self.declared:
            name = str(action.metavar)
            if not action.option_strings:
                words.append(f"[{name}]" if action.nargs == "?" else name)
            elif action.required:
                words.append(f"{action.option_strings[0]} {name}")
        if self.commands:
            return " ".join([*words, "COMMAND …"])
        words += ["[overrides]"] * self.takes_overrides
        has_more = any(action.option_strings and not action.required for action in self.declared[1:])  # the first is --help
        return " ".join([*words, *["[flags]"] * has_more])

    def format_help(self) -> str:
        """Return the help: the line, what it does, arguments, flags, the sections, and examples."""
        self.usage = argparse.SUPPRESS
        blocks = [self.line(), wrapped(self.about, indent="")]
        if self.commands:
            blocks.append("commands\n" + rows([(name, inner.about) for name, inner in self.commands.items()], 12))
        blocks.append(_TITLE.sub(r"\1", super().format_help().strip("\n")))
        blocks += [f"{title}\n{wrapped(text if isinstance(text, str) else text())}" for title, text in self.sections]
        if self.examples:
            blocks.append("\n".join(["examples", *(f"  {example}" for example in self.examples)]))
        return "\n\n".join(blocks)

    def error(self, message: str) -> NoReturn:
        """Raise the error with what was expected and the fix, in place of argparse's own words."""
        fault = sys.exc_info()[1]
        if isinstance(fault, argparse.ArgumentError) and fault.argument_name is not None:
            if isinstance(fault.__context__, AmiError):  # raised by the flag's own type
                raise fault.__context__ from None
            raise self._invalid(self._declared(fault.argument_name), fault.message) from None
        raise self._missing(message.rpartition(": ")[2].split(", ")) from None

    def _declared(self, name: str) -> argparse.Action:
        return next(action for action in self.declared if name in ("/".join(action.option_strings), action.metavar))

    def _invalid(self, action: argparse.Action, message: str) -> AmiError:
        name, value = _name(action), message.partition(": ")[2]
        if action.type in KINDS and value:
            fix = f". Fix: {name} {action.default}" if action.default is not None else ""
            return SettingError(f"{name} is {value}: expected {KINDS[action.type]}{fix}")
        if action.nargs == 0:
            value = message.rpartition(" ")[2]
            return SettingError(f"{name} takes no value: {value}. Fix: {name} alone")
        return SettingError(f"{name} has no value: expected `{name} {action.metavar}`. `{self.prog} --help` explains it.")

    def _missing(self, names: Sequence[str]) -> AmiError:
        words = [f"{name}, {str(action.help).partition(';')[0]}" if not action.option_strings and len(names) == 1 else name
                 for name, action in ((_name(one), one) for one in map(self._declared, names))]
        missing = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
        example = next((f" Fix: {text}" for text in self.examples if text.startswith(self.prog)), "")
        return SettingError(f"`{self.prog}` lacks {missing}: expected `{self.line()}`.{example}")

    def _unknown(self, name: str) -> AmiError:
        """Return the error for an unknown flag: the new name, the nearest one, or the syntax of a setting."""
        known = [text for action in self.declared for text in action.option_strings]
        if RENAMED_FLAGS.get(name) in known:
            return SettingError(f"{name} is {RENAMED_FLAGS[name]} now. Fix: {RENAMED_FLAGS[name]}")
        if "did you mean" in suggestion(name, known):
            return unknown_name("flag", name, known, f"`{self.prog} --help` explains them.")
        error = f"unknown flag {shown(name)}: `{self.prog} --help` lists them."
        if not self.takes_overrides:
            return SettingError(error)
        return SettingError(f"{error} Fix for a setting: no dashes, {name.lstrip('-').replace('-', '_') or 'seed'}=…")


class _Format(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, up to `WIDEST`."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=COLUMN, width=_width())


def one_of(what: str, names: Iterable[str]) -> Callable[[str], str]:
    """Return a flag's type: one of some names."""
    known = tuple(names)

    def read(text: str) -> str:
        if text not in known:
            raise unknown_name(what, text, known)
        return text

    return read


def options_folder(text: str) -> Path:
    """Return a folder of options, as `--config-dir` names it.

    Raises:
        SettingError: there is no such folder.
    """
    folder = Path(text)
    if not folder.is_dir():
        raise SettingError(f"--config-dir names '{folder}': expected a folder that holds groups of options, "
                           f"{folder / 'planner' / 'mine.yaml'}")
    return folder.resolve()


def searching(folders: Sequence[Path]) -> list[str]:
    """Return the override that adds the folders of `--config-dir` to the search path; none without one."""
    places = ",".join("'file://" + str(folder).replace("\\", "\\\\").replace("'", "\\'") + "'" for folder in folders)
    return [f"hydra.searchpath=[{places}]"] if folders else []


def rows(entries: Iterable[tuple[str, str]], column: int = COLUMN) -> str:
    """Return a two-column list; a long name stands on its own line."""
    lines: list[str] = []
    for name, text in entries:
        first, *rest = textwrap.wrap(text, max(20, _width() - column), break_on_hyphens=False) or [""]
        head, margin = f"  {name}", " " * column
        lines += [f"{head:<{column}}{first}"] if len(head) < column - 1 else [head, f"{margin}{first}"]
        lines += [f"{margin}{line}" for line in rest]
    return "\n".join(lines)


def wrapped(text: str, indent: str = "  ") -> str:
    """Wrap and indent the paragraphs of a text; indented lines stay as they are."""
    fold = textwrap.TextWrapper(_width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(line if line.startswith(" ") else fold.fill(line) for line in text.split("\n"))


def walk(parser: Parser) -> Iterator[Parser]:
    """Yield a parser and those of its commands, and of their actions."""
    yield parser
    for inner in parser.commands.values():
        yield from walk(inner)


def _width() -> int:
    return min(WIDEST, shutil.get_terminal_size().columns - 2)


def _name(action: argparse.Action) -> str:
    return action.option_strings[0] if action.option_strings else str(action.metavar)


def _escaped(text: str) -> str:
    """Escape the percent sign, which argparse would expand."""
    return text.replace("%", "%%")
