"""The listing of all options: of `configs/` and of a user's own folders, one line each, without importing a module."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ami.errors import SettingError, suggestion

SECTIONS = {
    "modules": ("perception", "world_model", "memory", "goal", "cost", "planner", "actor", "configurator"),
    "worlds": ("world",),
    "agents": ("agent",),
    "experiments": ("experiment",),
    "learning": ("learning", "source", "optimiser", "scheduler", "callback"),
    "settings": ("graph", "evaluation"),
}
"""The sections of `ami list`, and the groups of each."""
OURS = ("modules.", "worlds.", "ami.")
"""Packages whose docstrings describe an option without a comment; they are read without importing them."""


def listing(section: str | None = None, folders: Sequence[Path] = ()) -> str:
    """Return the listing, or one section of it; `folders` are a user's own, which come first in the search path."""
    groups = [group for name in ([section] if section else SECTIONS) for group in SECTIONS[name]]
    defaults = (resources.files("configs") / "ami.yaml").read_text(encoding="utf-8")
    blocks = []
    for group in groups:
        chosen = re.search(rf"^  - {group}: (\w+)", defaults, re.MULTILINE)
        lines = [f"  {name + ' *' * bool(chosen and chosen[1] == name):<22} {line}"
                 for name, line in options_of(group, folders)]
        blocks.append("\n".join([group, *(lines or ["  none yet"])]))
    return "\n\n".join(blocks)


def misnamed(folders: Sequence[Path]) -> list[str]:
    """Return a warning for each of a user's folders that holds options but has no group's name."""
    groups = [group for names in SECTIONS.values() for group in names]
    return [f"'{inner}' holds options and is no group{suggestion(inner.name, groups)} Fix: rename it"
            for place in folders for inner in sorted(place.iterdir())
            if inner.is_dir() and inner.name not in groups and any(inner.rglob("*.yaml"))]


def options_of(group: str, folders: Sequence[Path] = ()) -> list[tuple[str, str]]:
    """Return each option of a group with its one-line description."""
    found: dict[str, str] = {}
    for place in folders:
        for file in sorted((place / group).rglob("*.yaml")):
            name = file.relative_to(place / group).with_suffix("").as_posix()
            found.setdefault(name, f"{_own_line(file)} ({place})")
    folder = resources.files("configs") / group
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")] if folder.is_dir() else []
    for shipped in files:
        found.setdefault(shipped.name.removesuffix(".yaml"), _one_line(shipped.read_text(encoding="utf-8")))
    return sorted(found.items())


def _own_line(file: Path) -> str:
    """Return the description of a user's own option, or the fault of a file that cannot be read."""
    from ami.config.option_file import read

    try:
        return _one_line(read(file))
    except SettingError as error:
        return f"cannot be used: {error}"


def _one_line(text: str) -> str:
    """Return the first comment that is no directive; without one, the first line of the class's docstring."""
    for line in text.splitlines():
        if line.startswith("#") and not line.lstrip("# ").startswith("@"):
            return line.lstrip("# ").strip()
        if line.strip() and not line.startswith("#"):
            break
    target = re.search(r"^_target_: *([\w.]+)", text, re.MULTILINE)
    if target is None:
        return ""
    return _docstring(target[1]) if target[1].startswith(OURS) else target[1]  # reading others would import them


def _docstring(target: str) -> str:
    name, _, wanted = target.rpartition(".")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return ""
    tree: Any = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            return (ast.get_docstring(node) or "").split("\n")[0]
    return ""
