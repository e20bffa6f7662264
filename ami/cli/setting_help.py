"""The help of the settings that belong to no module: each with its default, from `ami.config.settings` and `configs/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from ami.cli.arguments import rows

OF_NODES = [
    ("NODE.weights=null", "initial weights: FILE or RUN, a run's folder or its name in the store; FILE:NODE, RUN:NODE if "
                          "the node has another name there"),
    ("NODE.frozen=false", "true: no stage trains the node")]
"""The settings of `ami.config.node_settings`."""


def setting_help() -> str:
    """Return one entry per setting: `evaluation.pairs=200   number of sealed pairs of each kind`."""
    from dataclasses import MISSING  # with yaml a third of the time of `ami --help`, which does not need them

    from ami.config.settings import TOP_LEVEL, describe

    defaults = _defaults(TOP_LEVEL)
    values = [(one, _at(defaults, one.path, one.default)) for one in describe()]
    entries = [(one.path if value is MISSING else f"{one.path}={_shown(value)}", one.help) for one, value in values]
    return rows([*entries, *OF_NODES], 34)


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


def _defaults(sections: Iterable[str]) -> dict[str, Any]:
    """Return the defaults in `configs/`: of the file itself, and of the options that it chooses for sections of settings."""
    import yaml

    folder = resources.files("configs")
    whole = yaml.safe_load((folder / "ami.yaml").read_text(encoding="utf-8"))
    chosen = {group: name for entry in whole["defaults"] if isinstance(entry, Mapping) for group, name in entry.items()}
    options = {group: yaml.safe_load((folder / group / f"{name}.yaml").read_text(encoding="utf-8"))
               for group, name in chosen.items() if group in sections}
    return {**whole, **options}
