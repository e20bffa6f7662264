"""What a folder without a run holds instead, for the error that refuses it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypedDict

from ami.errors import TraceError
from ami.storage.files import MIB, FileKind
from ami.storage.schema import AtMost, Line
from ami.terminal.text import escaped

COMPARISON, SUMMARY = "comparison.json", "summary.json"
"""The files of `ami.comparison`: the identity, which makes a folder a comparison's, and the figures."""
MOST_SHOWN = 3


class Compared(TypedDict):
    """The entries of a comparison's figures that lead to a run of one variant."""

    overrides: dict[Line, Annotated[list[Line], AtMost(1000)]]
    seeds: list[int]


FIGURES = FileKind("a comparison's figures", TraceError, "repeat `ami compare`", 64 * MIB, Compared)


def no_run(folder: Path, expected: str) -> str:
    """Return why a folder cannot be opened as a run, and what to open instead.

    Args:
        folder: the folder.
        expected: the name of the missing file.
    """
    name = escaped(str(folder), keep="")
    if (folder / COMPARISON).is_file():
        return (f"{name} holds a comparison, which keeps every outcome but no run: expected a run's folder. "
                f"Fix: run one variant, and open the folder that it prints{_variants(folder)}")
    # users often name a parent folder
    runs = sorted((path.parent for path in folder.glob("*/header.json")), reverse=True)
    runs += sorted((path.parent for path in folder.glob("*/*/header.json")), reverse=True)
    near = f". Fix: name one of {', '.join(map(str, runs[:MOST_SHOWN]))}" if runs else ""
    return f"{name} holds no run: expected a folder with {expected}, as `ami run` leaves it{near}"


def _variants(folder: Path) -> str:
    """Return the commands that run the first variants; empty if the comparison is unfinished."""
    try:
        found: Compared = FIGURES.read_json(folder / SUMMARY, folder)
    except (TraceError, FileNotFoundError):
        return ""
    commands = [_command(overrides, found["seeds"]) for overrides in found["overrides"].values()]
    more = f"\n  … and {len(commands) - MOST_SHOWN} more" if len(commands) > MOST_SHOWN else ""
    return ":\n" + "\n".join(f"  {escaped(command, keep='')}" for command in commands[:MOST_SHOWN]) + more


def _command(overrides: Sequence[str], seeds: Sequence[int]) -> str:
    return shlex.join(["ami", "run", *overrides, *(f"seed={seed}" for seed in seeds[:1]), "trace.level=boundary"])
