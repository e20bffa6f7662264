"""A stage of learning: the modules trained together, their data, and their optimiser."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ami.blueprint import IntrinsicTerm
from ami.config.rules import types_of
from ami.config.settings import Stage as Settings
from ami.config.settings import check
from ami.errors import SettingError, require, suggestion, unknown_name
from ami.graph.spec import ModuleSpec
from ami.learning.optimisers import unwrapped
from ami.learning.options import option
from ami.learning.sources.source import Source
from ami.module import Module

KINDS: dict[str, tuple[type, tuple[str, ...]]] = {
    "source": (Source, ()), "optimiser": (Optimizer, ("params", "lr")),
    "scheduler": (LRScheduler, ("optimizer", "steps"))}
"""The class of each option of a stage, and the arguments that the engine gives it if its constructor takes them."""


@dataclass(frozen=True)
class Stage(Settings):
    """The settings of one stage (`ami.config.settings.Stage`); parts that it does not name are frozen.

    Attributes:
        name: the key of its figures and progress.
        options: its source, optimiser and scheduler, each a class and its settings.
        data: the source.

    Raises:
        SettingError, UnknownName, TrustError: a setting is out of its range, or an option names no fitting class.
    """

    name: str = field(kw_only=True)
    options: Mapping[str, ModuleSpec] = field(kw_only=True, compare=False)
    data: Source = field(kw_only=True, compare=False)

    @classmethod
    def read(cls, name: str, settings: Mapping[str, Any], others: Iterable[str] = (), allow: Sequence[str] = ()) -> Stage:
        """Return a stage from its config.

        Args:
            name: its name.
            settings: its settings; options as `{_target_: …, …}` (see `ami.config.stage_options`).
            others: the names of all stages. The error for an incomplete stage suggests the most similar of them.
            allow: more prefixes for the allow-list.
        """
        where = f"learning.stages.{name}"
        near = suggestion(name, {*others} - {name})
        near = near if "did you mean" in near else "."
        known = types_of(Settings)
        for key in settings:
            if key not in known:
                raise unknown_name(f"setting of {where}", str(key), known)
        for key in ("train", "loss", "steps"):
            require(key in settings, f"{where} has no '{key}': this agent has no such stage to change{near} "
                                     f"Fix: take out {where}, or the experiment that sets it; to make it a "
                                     f"stage, +{where}.{key}=…")
        given = {key: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
                 for key, value in settings.items()}
        mistakes = check(given, Settings, f"{where}.")
        require(not mistakes, "\n".join(mistakes))
        options = {key: option(settings[key], f"{where}.{key}", key, *KINDS[key], allow) for key in KINDS}
        closure = inspect.signature(cast(Any, options["optimiser"].target).step).parameters.get("closure")
        require(closure is None or closure.default is None,
                f"{where}.optimiser is {options['optimiser'].name}, which evaluates the loss several times per step: "
                "expected an optimiser of one evaluation, such as adamw or sgd")
        return cls(**settings, name=name, options=options, data=options["source"].make())

    @property
    def learner(self) -> str:
        """The node whose loss is minimised."""
        return self.loss.partition(".")[0]

    @property
    def objective(self) -> str:
        """The method of that node's module that returns the loss."""
        return self.loss.partition(".")[2] or "loss"

    def make(self, option: str, **given: Any) -> Any:
        """Return the optimiser or the scheduler. Arguments in `given` that its constructor does not take are dropped."""
        spec = self.options[option]
        target = unwrapped(spec.target) if option == "optimiser" else spec.target
        return target(**{name: value for name, value in given.items() if spec.takes(name)}, **spec.settings)

    def plain(self) -> dict[str, Any]:
        """Return everything that decides its result, as plain values."""
        return {key: self.options[key].resolved() if key in KINDS else getattr(self, key)
                for key in ("name", *types_of(Settings))}


def parts_of(stage: Stage, modules: Mapping[str, Module]) -> dict[str, nn.Module]:
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


def check_modules(stage: Stage, modules: Mapping[str, Module]) -> None:
    """Check that modules can learn a stage; raises as `parts_of` does.

    Raises:
        UnknownName, SettingError: the node of its loss is missing, or has no such loss.
    """
    parts_of(stage, modules)
    if stage.learner not in modules:
        raise unknown_name(f"node in learning.stages.{stage.name}.loss", stage.learner, modules)
    losses = modules[stage.learner].losses()
    if losses and stage.objective not in losses:
        raise unknown_name(f"loss in learning.stages.{stage.name}.loss", stage.loss,
                           [stage.learner if name == "loss" else f"{stage.learner}.{name}" for name in losses])
    if not losses:
        raise SettingError(f"learning.stages.{stage.name}.loss is {stage.loss}, whose module "
                           f"{type(modules[stage.learner]).__name__} has no loss(batch). Fix: drop the stage with "
                           f"~learning.stages.{stage.name}, or swap the module")
