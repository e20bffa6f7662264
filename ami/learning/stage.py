"""A stage of learning: the modules trained together, their data and the optimiser's settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ami.blueprint import IntrinsicTerm
from ami.config.rules import types_of
from ami.config.settings import Stage as Settings
from ami.config.settings import check
from ami.errors import SettingError, require, suggestion, unknown_name
from ami.module import Module


@dataclass(frozen=True)
class Stage(Settings):
    """The settings of one stage (`ami.config.settings.Stage`); parts that it does not name are frozen.

    Attributes:
        name: the key of its figures and progress.

    Raises:
        SettingError: a setting is out of its range; names all of them.
    """

    name: str = field(kw_only=True)

    def __post_init__(self) -> None:
        where = f"learning.stages.{self.name}"
        given = {key: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
                 for key, value in ((key, getattr(self, key)) for key in types_of(Settings))}
        mistakes = check(given, Settings, f"{where}.")
        require(not mistakes, "\n".join(mistakes))
        require(0 < len(self.agents) <= self.steps or self.data != "plans",
                f"{where}.agents is {list(self.agents)}: expected one or more names, at most one per step")

    @classmethod
    def read(cls, name: str, settings: Mapping[str, Any], others: Iterable[str] = ()) -> Stage:
        """Return a stage from its config.

        An unknown setting is refused with the nearest name, an incomplete stage with the nearest of `others`.
        """
        near = suggestion(name, {*others} - {name})
        near = near if "did you mean" in near else "."
        known = types_of(Settings)
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
