"""Stages of learning as the configuration would make them, and an interruption at one of their steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from omegaconf import OmegaConf

from ami.config.overrides import option_folders
from ami.config.stage_options import insert_options
from ami.learning.stage import Stage
from ami.learning.stage_run import StageRun


def stage(name: str = "model", **settings: Any) -> Stage:
    """Return a stage; by default it trains the world model on windows."""
    whole = {"train": ["world_model"], "loss": "world_model", "steps": 100, **settings}
    config = OmegaConf.create({"learning": {"stages": {name: whole}}})
    insert_options(config, option_folders([]), [])
    plain: Any = OmegaConf.to_container(config.learning.stages[name], resolve=True)
    return Stage.read(name, plain)


@contextmanager
def interrupted_at(name: str, step: int) -> Iterator[None]:
    """Expect the block to be interrupted, as by Ctrl-C, before a step of a stage."""
    update_of = StageRun.update

    def update(self: StageRun) -> object:
        if self.stage.name == name and self.step == step:
            raise KeyboardInterrupt
        return update_of(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StageRun, "update", update)
        yield
