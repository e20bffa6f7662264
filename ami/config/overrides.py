"""Overrides, `planner.horizon=6`: parsed, checked, and prepared for Hydra."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import OverrideParseException

from ami.config import option_file
from ami.config.options import PACKAGE, groups, quoted
from ami.config.settings import TOP_LEVEL
from ami.errors import SettingError, shown, unknown_name

SEARCH_PATH = "hydra.searchpath"
MAX_NAME = 200
_DOTTED = re.compile(r"^(?!hydra\.)[A-Za-z_]\w*\.[^=]*=")


def forced(overrides: Sequence[str]) -> list[str]:
    """Let overrides of a setting add it, as options hold no defaults: `planner.horizon=6` → `++planner.horizon=6`."""
    return [f"++{text}" if _DOTTED.match(text) else text for text in overrides]


def for_hydra(overrides: Sequence[str]) -> list[str]:
    """Return the overrides for Hydra: forced, with option folders whose files are checked when they are read."""
    given = forced(overrides)
    folders = [str(place) for place in search_path(overrides)]
    checked = [f"{option_file.SCHEME}://{place.removeprefix('file://')}" if "://" not in place or place.startswith("file://")
               else place for place in folders]
    rest = [text for text in given if not text.startswith(SEARCH_PATH)]
    return [*rest, f"{SEARCH_PATH}={quoted(checked)}"] if folders else rest


def refuse_two_values(overrides: Sequence[str]) -> None:
    """Refuse a key that is given twice on one command line; in Python the later of two counts.

    Raises:
        SettingError: names both.
    """
    given: dict[str, str] = {}
    for text in overrides:
        key, equals, _ = text.lstrip("+").partition("=")
        if equals and text.removeprefix("++") != given.get(key, text.removeprefix("++")):
            values = [one.partition("=")[2] for one in (given[key], text)]
            fix = f"experiment=[{','.join(values)}] for both" if key == "experiment" else "leave one out"
            raise SettingError(f"'{given[key]} {text}' gives {key} two values: expected one. Fix: {fix}")
        given[key] = text


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides with Hydra's grammar.

    Raises:
        SettingError: one cannot be read, or its name is too long for a file name.
    """
    for text in overrides:
        key, _, value = text.partition("=")
        is_name = key in groups() and not value.startswith(("{", "["))
        if len(key) > MAX_NAME or (is_name and len(value) > MAX_NAME):  # a name becomes a file name
            raise SettingError(f"the override {shown(text.removeprefix('++'))} has too long a name: "
                               f"expected at most {MAX_NAME} characters")
    try:
        return list(OverridesParser.create().parse_overrides(list(overrides)))
    except ValueError as error:  # a number with thousands of digits
        raise SettingError(f"the overrides cannot be read: {error}") from None
    except RecursionError:
        raise SettingError("the overrides cannot be read: a value is nested too deep. Fix: fewer brackets") from None
    except OverrideParseException as error:
        raise SettingError(f"cannot read the override {shown(error.override.removeprefix('++'))}: expected `key=value`, "
                           "`+key=value` or `~key`. Fix for signs such as , : = in a value: quote it, `\"key='a,b'\"`"
                           ) from None


def check_override(override: Override) -> None:
    """Refuse sweeps, unknown names and choices that are not names, with clearer messages than Hydra's."""
    key, given = override.key_or_group, str(override.input_line).removeprefix("++")
    if override.is_sweep_override():
        raise SettingError(f"{shown(given)} asks for several runs: expected one value. "
                           "Fix: `--multirun`, or, in Python, one call per value")
    if "." in key or key.startswith("hydra") or override.type is not OverrideType.CHANGE:
        return
    if key not in (*groups(), *TOP_LEVEL):
        raise unknown_name("setting or group", key, {*groups(), *TOP_LEVEL})
    if key in groups() and not isinstance(override.value(), (str, list) if key == "experiment" else (str, dict)):
        fix = f"Fix to take it out: `~{key}`"
        if key in ("graph", *TOP_LEVEL):
            fix = "Fix: leave it out" + " or, to learn nothing, learning=none" * (key == "learning")
        raise SettingError(f"{shown(given)} chooses no {key}: expected a name, see `ami list`. {fix}")


def override_key(override: str) -> str:
    """Return the key that an override sets: `++planner.horizon=6` → planner.horizon."""
    return override.lstrip("+~").partition("=")[0]


def first_name(override: str) -> str:
    """Return the first name of an override's key: `++planner.horizon=6` → planner."""
    return re.split(r"[=.]", override.lstrip("+~"), maxsplit=1)[0]


def option_folders(overrides: Sequence[str]) -> list[Any]:
    """Return the folders that hold options: those of `hydra.searchpath`, then ami's own package."""
    return [*(Path(place.removeprefix("file://")) for place in search_path(overrides)), resources.files(PACKAGE)]


def search_path(overrides: Sequence[str]) -> list[str]:
    """Return the folders of the user's own options, in the given order."""
    given: list[Any] = [o.value() for o in parse_overrides([text for text in overrides if text.startswith(SEARCH_PATH)])]
    return [str(place) for places in given for place in (places if isinstance(places, list) else [places])]


def own_options(overrides: Sequence[str]) -> dict[str, str]:
    """Return the user's own options: the text of each YAML file, by its path in its folder."""
    *folders, _ = option_folders(overrides)  # the last one is ami's
    return {file.relative_to(folder).as_posix(): option_file.read(file)
            for folder in reversed(folders) for file in sorted(folder.rglob("*.yaml"))}
