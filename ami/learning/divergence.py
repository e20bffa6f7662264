"""Divergence: the probable cause of a loss that is not finite: the batch, the weights, or the loss itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ami.errors import SettingError
from ami.learning.sources.source import Source
from ami.learning.stage import Stage
from ami.module import Module


def not_finite(stage: Stage, step: int, loss: Tensor, batch: Mapping[str, Tensor],
               modules: Mapping[str, Module]) -> SettingError:
    """Return the error that names stage, step, node and the probable cause.

    Args:
        stage: the stage.
        step: its step, from 0.
        loss: a scalar that is not finite.
        batch: the batch of the loss.
        modules: the modules, by node.
    """
    node = stage.learner
    kind = type(modules[node]).__name__
    what = f"the loss of learning.stages.{stage.name} ({node}, {kind}) is {float(loss)} at step {step}"
    bad = [f"{name} ({_count(value)} of {value.numel()} numbers)" for name, value in batch.items() if _count(value)]
    if bad:
        return SettingError(f"{what}: its batch holds {', '.join(bad)} that are not finite; {stage.data.made_by}. "
                            f"{_data_fix(stage)}")
    weights = [f"{owner}.{name}" for owner, module in modules.items() for name, value in module.state_dict().items()
               if _count(value)]
    if weights:
        more = f" and {len(weights) - 1} more tensors" if len(weights) > 1 else ""
        return SettingError(f"{what}: the weights {weights[0]}{more} are not finite since the previous step, with "
                            f"finite data. Fix: learning.stages.{stage.name}.learning_rate below {stage.learning_rate:g}"
                            f"{_clip_fix(stage)}")
    if step == 0:
        return SettingError(f"{what}, with finite data and initial weights. Fix: correct {kind}.{stage.objective}(), which "
                            "divides by zero, overflows, or takes the logarithm of 0")
    return SettingError(f"{what}: its data and all weights are finite, so the loss overflows. Fix: "
                        f"learning.stages.{stage.name}.learning_rate below {stage.learning_rate:g}{_clip_fix(stage)}")


def _count(value: Tensor) -> int:
    return int((~value.isfinite()).sum()) if value.is_floating_point() else 0


def _data_fix(stage: Stage) -> str:
    if stage.data.made_by == Source.made_by:
        return "Fix: correct the world, or cut such values off in a wrapper, world.wrappers=[package.file.Class]"
    return "Fix: correct the module that computes it, or let it learn with a smaller learning_rate"


def _clip_fix(stage: Stage) -> str:
    return "" if stage.clip else f", or learning.stages.{stage.name}.clip above 0"
