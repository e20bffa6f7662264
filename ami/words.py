"""Reading the words of a command: its own flags, Hydra's flags, and overrides."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ami.errors import SettingError, suggestion, unknown_name

HYDRA_FLAGS = ("--multirun", "-m", "--cfg", "--resolve", "--info", "--config-dir", "-cd", "--hydra-help")
FOLDER_FLAGS = ("--config-dir", "-cd")


class Parser(argparse.ArgumentParser):
    """Reads the words of one command; `ami.help` has the text of `--help`."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (-[^\s=]*)", message)
        if unknown:
            raise unknown_name("flag", unknown[1], self._option_string_actions, f"`{self.prog} --help` explains them.")
        raise SettingError(f"{message}. `{self.prog} --help` explains it.")


def parser(command: str) -> argparse.ArgumentParser:
    """Reads the flags of one command."""
    return Parser(prog=f"ami {command}", add_help=False, allow_abbrev=False)


def take_allow(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """`--allow mypkg.` may stand anywhere, and more than once."""
    reader = parser("run")
    reader.add_argument("--allow", action="append", default=[])
    found, rest = reader.parse_known_args(list(words))
    return found.allow, rest


def take_from(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """`--from FOLDER` names the saved agent that a run begins with."""
    reader = parser("run")
    reader.add_argument("--from", dest="saved")
    found, rest = reader.parse_known_args(list(words))
    return found.saved, rest


def split(words: Sequence[str], known: Sequence[str] = HYDRA_FLAGS) -> tuple[list[str], list[str]]:
    """The known flags and the overrides. A folder of the user's own leaves becomes part of the search path."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        name, _, value = word.partition("=")
        if not word.startswith("-"):
            overrides.append(word)
        elif name not in known:
            menu = [*known, "--allow", "--from", "--help"]
            is_near = "did you mean" in suggestion(name, menu)
            raise unknown_name("flag", name, menu, "" if is_near else "Fix for a setting: no dashes, seed=1")
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
