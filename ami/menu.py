"""The menu: every leaf of `configs/` with one line, read without importing a module."""

from __future__ import annotations

import ast
import importlib.util
import re
from importlib import resources
from pathlib import Path
from typing import Any

CHAPTERS = {
    "modules": ("perception", "world_model", "memory", "goal", "cost", "planner", "actor", "configurator"),
    "worlds": ("world",),
    "agents": ("agent",),
    "experiments": ("experiment",),
}
"""What `ami list` lists, and the groups of each."""


def menu(chapter: str | None = None) -> str:
    """The whole menu, or one chapter of it."""
    groups = [group for name in ([chapter] if chapter else CHAPTERS) for group in CHAPTERS[name]]
    defaults = (resources.files("configs") / "ami.yaml").read_text(encoding="utf-8")
    blocks = []
    for group in groups:
        chosen = re.search(rf"^  - {group}: (\w+)", defaults, re.MULTILINE)
        lines = [f"  {name + (' *' if chosen and chosen[1] == name else ''):<22} {line}" for name, line in leaves(group)]
        blocks.append("\n".join([group, *(lines or ["  none yet"])]))
    return "\n\n".join(blocks)


def leaves(group: str) -> list[tuple[str, str]]:
    """Each leaf of a group and what it is, in one line."""
    folder = resources.files("configs") / group
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")] if folder.is_dir() else []
    return sorted((file.name.removesuffix(".yaml"), _one_line(file.read_text(encoding="utf-8"))) for file in files)


def _one_line(text: str) -> str:
    """The first comment that is no directive; without one, the first line of the class's docstring."""
    for line in text.splitlines():
        if line.startswith("#") and not line.lstrip("# ").startswith("@"):
            return line.lstrip("# ").strip()
        if line.strip() and not line.startswith("#"):
            break
    target = re.search(r"^_target_: *([\w.]+)", text, re.MULTILINE)
    return _docstring(target[1]) if target else ""


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
