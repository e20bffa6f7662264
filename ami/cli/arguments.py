"""Parse the arguments of a command: its own flags, Hydra's flags, and overrides."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from ami.errors import AmiError, SettingError, shown, suggestion, unknown_name

HYDRA_FLAGS: dict[str, tuple[str, ...] | None] = {
    "--multirun": None, "-m": None, "--resolve": None, "--hydra-help": None,
    "--cfg": ("job", "hydra", "all"), "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")}
"""Hydra's flags with their possible values; None for a flag without a value."""
COMMON_FLAGS = ("--allow", "--config-dir", "-cd", "--help")


class Common(NamedTuple):
    """The arguments shared by all commands that compose a configuration.

    Attributes:
        allow: prefixes of `--allow`.
        searched: the override that adds the folders of `--config-dir` to the search path; empty without one.
        folders: the same folders.
        rest: the other arguments.
    """

    allow: list[str]
    searched: list[str]
    folders: list[Path]
    rest: list[str]


class Parser(argparse.ArgumentParser):
    """Argument parser of one command; `ami.cli.help` has the text of `--help`."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (-[^\s=]*)", message)
        if unknown:
            raise unknown_flag(unknown[1], self._option_string_actions, self.prog)
        raise SettingError(f"{message}. `{self.prog} --help` explains it.")


def parser(command: str) -> argparse.ArgumentParser:
    """Return the parser for the flags of one command."""
    return Parser(prog=f"ami {command}", add_help=False, allow_abbrev=False)


def take_common(command: str, words: Sequence[str]) -> Common:
    """Extract `--allow mypkg.` and `--config-dir DIR`, at any position and any number of times.

    Raises:
        SettingError: a flag has no value, or --config-dir names no folder.
    """
    reader = parser(command)
    reader.add_argument("--allow", action="append", default=[])
    reader.add_argument("--config-dir", "-cd", action="append", default=[], type=Path)
    found, rest = reader.parse_known_args(list(words))
    for folder in found.config_dir:
        if not folder.is_dir():
            raise SettingError(f"--config-dir names '{folder}': expected a folder that holds groups of options, "
                               f"{folder / 'planner' / 'mine.yaml'}")
    folders = [folder.resolve() for folder in found.config_dir]
    places = ",".join("'file://" + str(folder).replace("\\", "\\\\").replace("'", "\\'") + "'" for folder in folders)
    return Common(found.allow, [f"hydra.searchpath=[{places}]"] if folders else [], folders, rest)


def take_from(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Extract `--from FOLDER`, the saved agent of a run; returns the folder and the other arguments."""
    reader = parser("run")
    reader.add_argument("--from", dest="saved")
    found, rest = reader.parse_known_args(list(words))
    return found.saved, rest


def take_hydra_flags(command: str, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split arguments into Hydra's flags with their values, and overrides.

    Raises:
        UnknownName, SettingError: a flag or its value is unknown, or two flags exclude each other.
    """
    flags: dict[str, str] = {}
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            overrides.append(word)
            continue
        if name not in HYDRA_FLAGS:
            raise unknown_flag(name, (*HYDRA_FLAGS, "--from"), f"ami {command}")
        choices = HYDRA_FLAGS[name]
        if choices is None and equals:
            raise SettingError(f"{name} takes no value: '{value}'. Fix: {name} alone")
        if choices is not None and not equals:
            value = next(rest, choices[0])
        if choices is not None and value not in choices:
            raise unknown_name(f"value of {name}", value, choices)
        flags["--multirun" if name == "-m" else name] = value
    kinds = [name for name in flags if name != "--resolve"]
    if len(kinds) > 1:
        raise SettingError(f"{' and '.join(kinds)} exclude each other: expected one of them")
    if "--resolve" in flags and "--cfg" not in flags:
        raise SettingError("--resolve has no effect without --cfg. Fix: --cfg job --resolve")
    return flags, overrides


def only_overrides(command: str, words: Sequence[str], flags: Sequence[str] = ()) -> list[str]:
    """Return the arguments if none of them is a flag; raise with the nearest of `flags` otherwise."""
    for word in words:
        if word.startswith("-"):
            raise unknown_flag(word.partition("=")[0], flags, f"ami {command}")
    return list(words)


def unknown_flag(name: str, known: Iterable[str], command: str) -> AmiError:
    """Return the error for an unknown flag, with the nearest known flag or the syntax of a setting."""
    choices = [flag for flag in (*known, *COMMON_FLAGS) if flag != name]  # another command's flag is no typing mistake
    if "did you mean" in suggestion(name, choices):
        return unknown_name("flag", name, choices, f"`{command} --help` explains them.")
    setting = name.lstrip("-").replace("-", "_")
    return SettingError(f"unknown flag {shown(name)}: `{command} --help` lists them. "
                        f"Fix for a setting: no dashes, {setting or 'seed'}=…")
