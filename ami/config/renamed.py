"""Renamed settings: recorded configurations are read under today's names; a typed old name is refused with the new one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

RENAMED = {
    "evaluation.beside": "evaluation.baselines",
    "evaluation.film": "evaluation.video",
    "evaluation.film_formats": "evaluation.video_formats",
}
"""Old name → new name, by the full path of the setting."""
_KEY = re.compile(r"([+~]*)([^=]*)")


def renamed_overrides(overrides: Iterable[str]) -> list[str]:
    """Return recorded overrides under today's names: `evaluation.film=0` → `evaluation.video=0`."""
    return [_KEY.sub(lambda found: found[1] + RENAMED.get(found[2], found[2]), text, count=1) for text in overrides]


def renamed_settings(config: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return a recorded configuration, plain nested values, under today's names."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{where}.{key}" if where else key
        new = RENAMED.get(path, path).rpartition(".")[2]
        found[new] = renamed_settings(value, path) if isinstance(value, Mapping) else value
    return found
