"""StateScript: actions of a script that reads the world's true state, whatever the agent perceives: an expert to learn from.

Shapes: B parallel worlds, A action width, M the size of the true state that the world sends.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ami.blueprint import Actor
from ami.errors import require
from ami.ports import Dims, Port


class StateScript(Actor):
    """Sends the actions of a script, clipped to [-1, 1]; the true state is read from a wire: a reference, no agent.

    It ignores states and goals, so episodes collected with it hold what any perception is given.

    Args:
        script: an object with one method on numpy arrays, `action(truth)`: (B, M) to (B, A).

    Raises:
        SettingError: the script has no such method, or returns actions of another shape.
    """

    inputs = {**Actor.inputs, "truth": Port("observation", ("*M",))}
    ignores = ("state", "goal", "mode", "plan")

    def __init__(self, script: Any) -> None:
        super().__init__()
        require(callable(getattr(script, "action", None)),
                f"StateScript.script, a {type(script).__name__}, has no action: expected an object with action(truth) on "
                "numpy arrays")
        self.script = script

    def build(self, dims: Dims) -> None:
        (self.width,) = self.outputs["action"].shape(dims)

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, truth: Tensor,
             plan: Tensor | None = None) -> dict[str, Tensor]:
        action = torch.as_tensor(self.script.action(truth.numpy(force=True)), dtype=torch.float32, device=truth.device)
        require(action.shape == (len(truth), self.width),
                f"StateScript.script, a {type(self.script).__name__}, returned actions of shape {tuple(action.shape)} for "
                f"{len(truth)} states: expected {(len(truth), self.width)}")
        return {"action": action.clamp(-1.0, 1.0)}
