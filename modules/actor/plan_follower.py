"""Follows the plan: receding-horizon control.

Shapes: B parallel worlds, H horizon, A action width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import Actor
from ami.errors import SettingError, require
from ami.ports import Dims, Port
from modules.actor.exploring import explored


class PlanFollower(Actor):
    """Executes the first steps of a plan, then takes the newest one (LeCun 2022, section 3.1.2, step 6).

    Args:
        num_steps: how many actions of a plan are executed before the next plan is taken; 1 always follows the newest.
        explore: the share of actions that are random instead, for gathering experience.

    Raises:
        SettingError: num_steps is not 1 to H, explore no share, or a world is in Mode-1, for which this actor has no policy.
    """

    inputs = {**Actor.inputs, "plan": Port("plan", ("H", "A"))}

    def __init__(self, num_steps: int = 1, explore: float = 0.0) -> None:
        super().__init__()
        require(num_steps >= 1, f"PlanFollower.num_steps is {num_steps}: expected 1 or more")
        require(0 <= explore <= 1, f"PlanFollower.explore is {explore}: expected 0 to 1")
        self.num_steps, self.explore = num_steps, explore

    def build(self, dims: Dims) -> None:
        horizon = self.inputs["plan"].shape(dims)[0]
        require(self.num_steps <= horizon,
                f"PlanFollower.num_steps is {self.num_steps}: expected at most the planner's horizon, {horizon}")

    def initial(self, batch: int) -> dict[str, Tensor]:
        if self.num_steps == 1:
            return {}
        plan = torch.zeros(batch, *self.inputs["plan"].shape(self.dims))
        return {"plan": plan, "done": torch.zeros(batch, dtype=torch.int64)}

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        if bool((mode != 2).any()):
            raise SettingError("actor was asked to react (mode 1), but PlanFollower has no policy. "
                               "Fix: configurator.mode=2, or an actor that reacts, such as actor=random")
        if self.num_steps == 1:
            return {"action": explored(self, plan[:, 0], self.explore)}
        done = self.carry["done"]
        followed = torch.where((done == 0)[:, None, None], plan, self.carry["plan"])
        action = followed[torch.arange(len(done), device=done.device), done]
        self.carry = {"plan": followed, "done": (done + 1) % self.num_steps}
        return {"action": explored(self, action, self.explore)}
