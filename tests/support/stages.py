"""Stages of learning as the configuration would make them."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from ami.config.overrides import option_folders
from ami.config.stage_options import insert_options
from ami.learning.stage import Stage


def stage(name: str = "model", **settings: Any) -> Stage:
    """Return a stage; by default it trains the world model on windows."""
    whole = {"train": ["world_model"], "loss": "world_model", "steps": 100, **settings}
    config = OmegaConf.create({"learning": {"stages": {name: whole}}})
    insert_options(config, option_folders([]), [])
    plain: Any = OmegaConf.to_container(config.learning.stages[name], resolve=True)
    return Stage.read(name, plain)
