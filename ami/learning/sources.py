"""Sources: the batches of a stage, by its kind of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ami.blueprint import Perception, WorldModel
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import SettingError
from ami.learning.hindsight import remember
from ami.learning.stage import Stage
from ami.module import Module

MADE_OF = {"experience": ("observation", "action"), "memory": ("state", "successors", "goal", "next"),
           "plans": ("state", "goal", "plan")}
"""The tensors in a batch of each kind of data."""
Draw = Callable[[int], dict[str, Tensor]]
"""Draws the batch of a step of the stage."""


def windows(stage: Stage, experience: ReplayBuffer) -> Draw:
    """Return a source of windows of observations and actions; raises as `ReplayBuffer.starts` does."""
    starts, ends = experience.starts(stage.window), experience.endings(stage.window)
    from_ends = round(stage.ends * stage.batch) if len(ends) else 0

    def draw(step: int) -> dict[str, Tensor]:
        drawn = [starts[torch.randint(len(starts), (stage.batch - from_ends,))]]
        if from_ends:
            drawn.append(ends[torch.randint(len(ends), (from_ends,))])
        return experience.windows(torch.cat(drawn), stage.window)

    return draw


def memory(stage: Stage, experience: ReplayBuffer, modules: Mapping[str, Module]) -> Draw:
    """Return a source of states with their successors.

    Raises:
        SettingError: there is not exactly one perception and one world model to compute them.
    """
    perception, model = (_the_one(stage, modules, kind, what) for kind, what in (
        (Perception, "perception"), (WorldModel, "world model")))
    states = remember(experience, perception, model, stage.imagined)
    endings = states.endings(stage.window) if stage.ends else None
    share = round(stage.ends * stage.batch) if endings is not None and len(endings) else 0
    return lambda step: states.draw(stage.batch, endings, share)


def _the_one(stage: Stage, modules: Mapping[str, Module], kind: type[Module], what: str) -> Any:
    found = [node for node, module in modules.items() if isinstance(module, kind)]
    if len(found) == 1:
        return modules[found[0]]
    there = f"{len(found)} of them learn here: {', '.join(found)}" if found else f"no {what} learns here"
    fix = "leave one of them in the graph" if found else f"name the {what} in the `train` of an earlier stage"
    raise SettingError(f"learning.stages.{stage.name} learns from memory, which one perception and one world model make, "
                       f"but {there}. Fix: {fix}, or drop the stage, ~learning.stages.{stage.name}")
