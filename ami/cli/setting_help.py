"""The help of the settings that belong to no module: each with its default, from `ami.config.settings` and `configs/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING
from importlib import resources
from typing import Any

import yaml

from ami.cli.arguments import rows
from ami.config.settings import TOP_LEVEL, describe


def setting_help() -> str:
    """Return one entry per setting: `evaluation.pairs=200   number of sealed pairs of each kind`."""
    defaults = _defaults()
    return rows([(_with_default(one.path, _at(defaults, one.path, one.default)), one.help) for one in describe()], 34)


def _with_default(path: str, value: Any) -> str:
    if value is MISSING:
        return path
    return f"{path}={_shown(value)}"


def _shown(value: Any) -> str:
    """Return a value as an override writes it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "runs" if str(value).startswith("${ami_store") else str(value)


def _at(values: Any, path: str, default: Any) -> Any:
    """Return the value at a dotted path, or the default."""
    for name in path.split("."):
        if not isinstance(values, Mapping) or name not in values:
            return default
        values = values[name]
    return values


def _defaults() -> dict[str, Any]:
    """Return the defaults in `configs/`: of the file itself, and of the options that it chooses for sections of settings."""
    folder = resources.files("configs")
    whole = yaml.safe_load((folder / "ami.yaml").read_text(encoding="utf-8"))
    chosen = {group: name for entry in whole["defaults"] if isinstance(entry, Mapping) for group, name in entry.items()}
    options = {group: yaml.safe_load((folder / group / f"{name}.yaml").read_text(encoding="utf-8"))
               for group, name in chosen.items() if group in TOP_LEVEL}
    return {**whole, **options}
