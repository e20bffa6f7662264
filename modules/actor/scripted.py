"""Scripted: velocities of a script that knows the world's map, the reference for learnt agents.

Shapes: B parallel worlds, A action width, S the size of a state, M of a map, Y of a body.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ami.blueprint import Actor
from ami.errors import require
from ami.ports import Port


class Scripted(Actor):
    """Sends the velocities of a script, their norm clipped to 1; state and goal must be true places: a reference, no agent.

    Args:
        script: an object with one method on numpy arrays, `velocity(place, goal, map, body)`: (B, S), (B, S), (B, M) and
            (B, Y) to (B, A).

    Raises:
        SettingError: the script has no such method.
    """

    inputs = {**Actor.inputs, "map": Port("observation", ("*M",)), "body": Port("observation", ("*Y",))}
    ignores = ("mode", "plan")

    def __init__(self, script: Any) -> None:
        super().__init__()
        require(callable(getattr(script, "velocity", None)),
                f"Scripted.script, a {type(script).__name__}, has no velocity: expected an object with velocity(place, "
                "goal, map, body) on numpy arrays")
        self.script = script

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, map: Tensor, body: Tensor,
             plan: Tensor | None = None) -> dict[str, Tensor]:
        velocity = self.script.velocity(*(message.numpy(force=True) for message in (state, goal, map, body)))
        action = torch.as_tensor(velocity, dtype=torch.float32, device=state.device)
        return {"action": action / torch.linalg.vector_norm(action, dim=-1, keepdim=True).clamp(min=1.0)}
