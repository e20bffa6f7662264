"""The options of a configuration: read from `configs/` and from a user's own folders, without composing them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ami.config import option_file
from ami.errors import unknown_name

PACKAGE, NAME = "configs", "ami"
"""ami's own options, and its configuration, which lists the groups."""


@lru_cache(maxsize=1)
def groups() -> tuple[str, ...]:
    """Return the groups in `configs/ami.yaml`, in its order."""
    names = [next(iter(entry)) for entry in read_yaml(resources.files(PACKAGE) / f"{NAME}.yaml")["defaults"]
             if isinstance(entry, Mapping)]
    return tuple(name for name in names if not name.startswith("override "))


def read_option(folders: Sequence[Any], group: str, name: str, where: str = "") -> dict[str, Any]:
    """Return the content of an option, from the first folder that holds it.

    Args:
        folders: the folders of options.
        group: the group.
        name: the option's name.
        where: the setting that names it, for the message; empty if it is the group itself.

    Raises:
        UnknownName: no folder holds it.
    """
    for folder in folders:
        if (folder / group / f"{name}.yaml").is_file():
            return read_yaml(folder / group / f"{name}.yaml")
    raise unknown_name(f"{group} in {where}" if where else group, name, option_names(folders, group))


def option_names(folders: Sequence[Any], group: str) -> list[str]:
    """Return the names of a group's options in some folders."""
    return [option.name.removesuffix(".yaml") for folder in folders if (folder / group).is_dir()
            for option in (folder / group).iterdir() if option.name.endswith(".yaml")]


def read_yaml(file: Any) -> dict[str, Any]:
    """Return the content of a YAML file, not interpolated; empty for an empty file."""
    text = option_file.read(file) if isinstance(file, Path) else file.read_text(encoding="utf-8")
    content: Any = OmegaConf.to_container(OmegaConf.create(text or "{}"))
    return dict(content or {})


def replacements(option: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the groups a preset replaces, with its choices: `override /planner: none` → planner, none."""
    for entry in option.get("defaults", ()):
        for key, choice in entry.items() if isinstance(entry, Mapping) else ():
            yield str(key).removeprefix("override ").strip().removeprefix("/"), str(choice)


def as_overrides(option: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield an option's own settings as overrides."""
    for key, value in option.items():
        if key == "defaults" and not path:
            continue
        if isinstance(value, Mapping) and value:
            yield from as_overrides(value, f"{path}{key}.")
        else:
            yield f"{path}{key}={quoted(value)}"


def quoted(value: Any) -> str:
    """Return a value as it is written in an override."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {quoted(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(quoted, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
