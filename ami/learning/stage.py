"""A stage of learning: the parts that learn together, their data and the optimiser's settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from ami.blueprint import IntrinsicTerm
from ami.errors import SettingError, require, suggestion, unknown_name
from ami.module import Module

SOURCES = ("experience", "memory", "plans")


@dataclass(frozen=True)
class Stage:
    """The settings of one stage; parts that it does not name are frozen.

    Attributes:
        name: the key of its figures and progress.
        train: the parts that learn together: nodes, or dotted parts of nodes ("cost.critics.critic").
        loss: the node whose `loss(batch)` is minimised.
        steps: the number of gradient steps.
        data: "experience", windows of observations and actions; "memory", states with their successors; or "plans", states,
            goals and plans of agents in Mode-2.
        batch: windows, states or plans per step.
        window: steps per window of experience.
        ends: the share of windows that end at a terminal step, which are rare and informative; with memory, the share of
            states at most `window` steps before a terminal step.
        imagined: imagined successors per state of memory.
        agents: the agents that plan, one after another during the stage; the steps are shared evenly among them.
        episodes: the number of episodes of each agent.
        learning_rate, weight_decay: AdamW's (Loshchilov and Hutter, 2019).
        warm_up: steps of linear warm-up; then a cosine decay to `final_rate` of the learning rate.
        clip: largest norm of the gradient; 0 for no limit.
    """

    name: str
    train: Sequence[str]
    loss: str
    steps: int
    data: str = "experience"
    batch: int = 64
    window: int = 5
    ends: float = 0.0
    imagined: int = 8
    agents: Sequence[str] = ("teacher", "apprentice")
    episodes: int = 400
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    warm_up: int = 50
    final_rate: float = 0.05
    clip: float = 2.0

    def __post_init__(self) -> None:
        where = f"learning.stages.{self.name}"
        require(len(self.train) > 0, f"{where}.train is empty: expected the parts that learn, e.g. [world_model]")
        require(self.data in SOURCES, f"{where}.data is '{self.data}'{suggestion(str(self.data), SOURCES)}")
        for name in ("steps", "batch", "window", "episodes"):
            value = getattr(self, name)
            require(value >= 1, f"{where}.{name} is {value}: expected 1 or more")
        require(0 < len(self.agents) <= self.steps or self.data != "plans",
                f"{where}.agents is {list(self.agents)}: expected one or more names, at most one per step")
        for name in ("imagined", "warm_up", "clip", "weight_decay"):
            value = getattr(self, name)
            require(value >= 0, f"{where}.{name} is {value}: expected 0 or more")
        require(0 <= self.ends <= 1, f"{where}.ends is {self.ends}: expected 0 to 1")
        require(self.learning_rate > 0, f"{where}.learning_rate is {self.learning_rate}: expected more than 0")

    @classmethod
    def read(cls, name: str, settings: Mapping[str, Any], others: Iterable[str] = ()) -> Stage:
        """Return a stage from its config.

        An unknown setting is refused with the nearest name, an incomplete stage with the nearest of `others`.
        """
        near = suggestion(name, {*others} - {name})
        near = near if "did you mean" in near else "."
        known = [field.name for field in fields(cls) if field.name != "name"]
        for key in settings:
            if key not in known:
                raise unknown_name(f"setting of learning.stages.{name}", str(key), known)
        for key in ("train", "loss", "steps"):
            require(key in settings, f"learning.stages.{name} has no '{key}': this agent has no such stage to change{near} "
                                     f"Fix: take out learning.stages.{name}, or the experiment that sets it; to make it a "
                                     f"stage, +learning.stages.{name}.{key}=…")
        return cls(name=name, **settings)

    def rate(self, step: int) -> float:
        """Return the learning rate at a step: linear warm-up times cosine."""
        warm = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * warm * (self.final_rate + (1 - self.final_rate) * cosine)


def specs_of(stage: Stage, modules: Mapping[str, Module]) -> dict[str, nn.Module]:
    """Return the parts that a stage trains, by name.

    Raises:
        UnknownName: there is no such node or part.
        SettingError: a part is named twice, is an intrinsic cost, which is immutable (paper, section 3.2), or has no
            parameters.
    """
    found: dict[str, nn.Module] = {}
    for number, path in enumerate(stage.train):
        for other in (*stage.train[:number], *stage.train[number + 1:]):
            require(path != other and not path.startswith(f"{other}."),
                    f"learning.stages.{stage.name}.train names {other} and {path}, which is "
                    f"{'the same' if path == other else 'a part of it'}: expected each part once. Fix: leave out {path}")
        node, _, rest = path.partition(".")
        if node not in modules:
            raise unknown_name(f"node in learning.stages.{stage.name}.train", node, modules)
        try:
            part: nn.Module = modules[node].get_submodule(rest)
        except AttributeError:
            paths = [f"{node}.{name}" for name, _ in modules[node].named_modules() if name]
            raise unknown_name(f"part in learning.stages.{stage.name}.train", path, paths) from None
        for name, inner in part.named_modules():
            if isinstance(inner, IntrinsicTerm):
                raise SettingError(
                    f"learning.stages.{stage.name} would train {'.'.join(filter(None, (path, name)))}, an intrinsic cost: "
                    "those are immutable. Fix: name the critic alone, e.g. train: [cost.critics.critic]")
        if not any(True for _ in part.parameters()):
            raise SettingError(f"learning.stages.{stage.name}.train names {path}, which has nothing to learn "
                               f"({type(part).__name__} has no parameters). Fix: leave it out, or swap the module")
        found[path] = part
    return found
