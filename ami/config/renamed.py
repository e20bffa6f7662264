"""Renamed settings: recorded configurations are read under today's names; a typed old name is refused with the new one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

RENAMED = {
    "evaluation.beside": "evaluation.baselines",
    "evaluation.film": "evaluation.video",
    "evaluation.film_formats": "evaluation.video_formats",
    **{f"learning.stages.*.{old}": f"learning.stages.*.{new}" for old, new in {
        "data": "source", "window": "source.length", "ends": "source.terminal_share", "imagined": "source.imagined",
        "agents": "source.agents", "episodes": "source.episodes", "weight_decay": "optimiser.weight_decay",
        "warm_up": "scheduler.warm_up", "final_rate": "scheduler.final"}.items()},
}
"""Old name → new name, by the full path of the setting; `*` is the name of a stage."""
RENAMED_OF = {
    "modules.actor.random.RandomActor": {"keep": "stickiness"},
    "modules.cost.value.Value": {"slip": "mean_backup"},
    "modules.planner.categorical.Categorical": {"trust": "warm_start_prob", "min_share": "epsilon"},
    "modules.planner.icem.ICEM": {"keep": "fraction_reused"},
    "modules.world_model.factored.Factored": {"grafts": "rebase_goals"},
    "modules.world_model.jepa.JEPA": {"in_steps": "normalise_deltas"},
}
"""Old name → new name of a module's settings, by its `_target_`: a recorded file is read without importing the class."""
_SOURCES = {
    "experience": ("windows", {"window": "length", "ends": "terminal_share"}),
    "memory": ("hindsight_states", {"window": "within", "ends": "terminal_share", "imagined": "imagined"}),
    "plans": ("expert_plans", {"agents": "agents", "episodes": "episodes"}),
}
"""The former values of a stage's `data`, and its settings then, by their name then."""
_KEY = re.compile(r"([+~]*)([^=]*)(=?)(.*)", re.DOTALL)


def new_name(path: str) -> str | None:
    """Return today's name of a setting, by its full path; None if it has not changed."""
    words = path.split(".")
    if words[:2] == ["learning", "stages"] and len(words) == 4:
        new = RENAMED.get(f"learning.stages.*.{words[3]}")
        return new and new.replace("*", words[2])
    return RENAMED.get(path)


def renamed_overrides(overrides: Iterable[str], config: Mapping[str, Any] | None = None) -> list[str]:
    """Return recorded overrides under today's names: `evaluation.film=0` → `evaluation.video=0`.

    Args:
        overrides: as on the command line.
        config: the configuration composed from them, plain nested values, which names the class of each module.
    """
    return [_override(text, config or {}) for text in overrides]


def old_names(config: Mapping[str, Any], where: str = "") -> list[str]:
    """Return a sentence for each module's setting that a configuration gives under its old name."""
    found = []
    for key, value in config.items():
        path = f"{where}.{key}" if where else str(key)
        new = _names_of(config).get(key)
        if new is not None:
            found.append(f"{path} is {where}.{new} now. Fix: {where}.{new}=…")
        if isinstance(value, Mapping):
            found += old_names(value, path)
    return found


def _names_of(module: Any) -> Mapping[str, str]:
    """Return the new names by the old ones of the settings of one mapping; empty if it is no module."""
    return RENAMED_OF.get(str(module.get("_target_")), {}) if isinstance(module, Mapping) else {}


def _override(text: str, config: Mapping[str, Any]) -> str:
    found = _KEY.fullmatch(text)
    if found is None:
        return text
    signs, key, equals, value = found.groups()
    value = _SOURCES[value][0] if key.endswith(".data") and new_name(key) and value in _SOURCES else value
    *parents, last = key.split(".")
    module: Any = config
    for name in parents:
        module = module.get(name) if isinstance(module, Mapping) else None
    key = ".".join([*parents, _names_of(module).get(last, last)])
    return f"{signs}{new_name(key) or key}{equals}{value}"


def renamed_settings(config: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return a recorded configuration, plain nested values, under today's names."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{where}.{key}" if where else key
        if where == "learning.stages" and isinstance(value, Mapping):
            found[key] = _stage(value)
        else:
            new = _names_of(config).get(key) or (new_name(path) or path).rpartition(".")[2]
            found[new] = renamed_settings(value, path) if isinstance(value, Mapping) else value
    return found


def _stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded stage with its source, optimiser and scheduler in place of the former settings."""
    if "source" in stage or not {"train", "data"} & set(stage):
        return dict(stage)
    source, settings = _SOURCES.get(str(stage.get("data", "experience")), _SOURCES["experience"])
    kept = {key: value for key, value in stage.items() if f"learning.stages.*.{key}" not in RENAMED}
    optimiser = {"weight_decay": stage["weight_decay"]} if "weight_decay" in stage else {}
    scheduler = {new: stage[old] for old, new in (("warm_up", "warm_up"), ("final_rate", "final")) if old in stage}
    return kept | {"source": {"name": source} | {new: stage[old] for old, new in settings.items() if old in stage},
                   "optimiser": {"name": "adamw", **optimiser}, "scheduler": {"name": "cosine", **scheduler}}
