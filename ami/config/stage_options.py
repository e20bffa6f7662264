"""Options of learning: a name in `configs/source/`, `optimiser/`, `scheduler/` or `callback/` becomes a class and settings.

    source: windows                         the option with its own settings
    source: {name: windows, length: 3}      the option with other settings
    source: {_target_: mypkg.sources.Mine}  a class of one's own
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from ami.config.options import read_option
from ami.config.overrides import parse_overrides
from ami.errors import require

DEFAULTS = {"source": "windows", "optimiser": "adamw", "scheduler": "cosine"}
"""The groups of options that a stage chooses from, each with the option of a stage that names none."""
CALLBACK, CALLBACKS = "callback", {"probe": "linear_probe", "error": "open_loop"}
"""The group of callbacks, and those of a learning agent by their key in `learning.callbacks`."""
NAME = "name"
_SETTING = re.compile(rf"\+*learning\.(?:stages\.[^.=]+\.(?:{'|'.join(DEFAULTS)})|callbacks\.[^.=]+)\.(?!{NAME}=)[^=]+=")


def without_settings(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split overrides into those for Hydra and those of an option's settings, which follow when the option is known."""
    own = [text for text in overrides if _SETTING.match(text)]
    return [text for text in overrides if text not in own], own


def insert_options(config: DictConfig, folders: Sequence[Any], overrides: Iterable[str]) -> None:
    """Replace the names of options in every stage and callback by the options, then apply overrides of their settings.

    Args:
        config: the composed configuration, changed in place.
        folders: the folders of options, as `ami.config.overrides.option_folders` returns them.
        overrides: such as `learning.stages.model.source.length=3`.

    Raises:
        UnknownName: there is no such option.
        SettingError: a stage gives an option both a name and a class.
    """
    stages = OmegaConf.select(config, "learning.stages")
    with open_dict(config):
        for name, stage in list(stages.items()) if isinstance(stages, DictConfig) else []:
            if isinstance(stage, DictConfig) and "steps" in stage:  # the options refer to it; its absence is refused later
                for group, default in DEFAULTS.items():
                    stage[group] = _option(stage.get(group, default), f"learning.stages.{name!s}.{group}", group, folders)
        if isinstance(stages, DictConfig) and any(stages.values()):
            given = OmegaConf.merge(CALLBACKS, config.learning.get("callbacks") or {})
            config.learning.callbacks = {
                name: chosen and _option(chosen, f"learning.callbacks.{name!s}", CALLBACK, folders)
                for name, chosen in given.items()} if isinstance(given, DictConfig) else given
        for override in parse_overrides(list(overrides)):
            OmegaConf.update(config, override.key_or_group, override.value(), force_add=True)


def _option(given: Any, where: str, group: str, folders: Sequence[Any]) -> Any:
    settings = {NAME: given} if isinstance(given, str) else given
    if not isinstance(settings, dict | DictConfig):
        return given  # refused by the check of settings
    require(not {NAME, "_target_"} <= set(settings), f"{where} has a name and a _target_: expected one of them. "
                                                     f"Fix: leave out {where}.{NAME}, or the _target_")
    if "_target_" in settings:
        return settings
    require(NAME in settings or group in DEFAULTS,
            f"{where} has no name: expected one of the options of configs/{group}. Fix: {where}.{NAME}=NAME")
    name = str(settings.get(NAME, DEFAULTS.get(group)))
    return OmegaConf.merge(read_option(folders, group, name, where),
                           {key: settings._get_node(key) if isinstance(settings, DictConfig) else value
                            for key, value in settings.items() if key != NAME})
