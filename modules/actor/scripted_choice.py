"""Scripted choice: discrete actions of a script that knows the world's map, to collect experience or as a reference.

Shapes: B parallel worlds, A action width, M the size of a map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ami.blueprint import Actor
from ami.errors import SettingError, require
from ami.ports import Dims, Port


class ScriptedChoice(Actor):
    """Sends the choices of a script as one-hot actions; it reads the true map: a reference, no agent.

    Args:
        script: an object with one method on numpy arrays, `choose(map)`: (B, M) to the indices (B,) of alternatives.

    Raises:
        SettingError: the script has no such method; or, when the graph is built, an action is not one choice.
    """

    inputs = {**Actor.inputs, "map": Port("observation", ("*M",))}
    ignores = ("state", "goal", "mode", "plan")

    def __init__(self, script: Any) -> None:
        super().__init__()
        require(callable(getattr(script, "choose", None)),
                f"ScriptedChoice.script, a {type(script).__name__}, has no choose: expected an object with choose(map) on "
                "numpy arrays")
        self.script = script

    def build(self, dims: Dims) -> None:
        if self.actions is not None and (not self.actions.is_discrete or len(self.actions.choices) != 1):
            raise SettingError(f"ScriptedChoice makes one choice, but here an action is {self.actions}. Fix: actor=scripted")

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, map: Tensor, plan: Tensor | None = None) -> dict[str, Tensor]:
        chosen = torch.as_tensor(self.script.choose(map.numpy(force=True)), device=state.device)
        return {"action": F.one_hot(chosen, self.outputs["action"].shape(self.dims)[0]).float()}
