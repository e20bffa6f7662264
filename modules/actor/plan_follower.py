"""Follows the plan: receding-horizon control.

Shapes: B parallel worlds, H horizon, A action width, U width of a plan's actions; here U = A.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.blueprint import ACTION_MASK, Actor
from ami.errors import SettingError, require
from ami.ports import ActionSpace, Dims, Port
from modules.actor.holding import action_at, age_of, is_held


class PlanFollower(Actor):
    """Executes the first steps of a plan, then takes the newest plan (LeCun 2022, section 3.1.2, step 6).

    If the planner fires only every n ticks, its last plan is followed, one action per tick; after the plan's end its last
    action is repeated. If the world's mask forbids an action, the newest plan is taken; if its action is forbidden too, the
    first allowed alternative.

    Args:
        num_steps: number of actions executed before the next plan is taken; 1 always follows the newest.

    Raises:
        SettingError: num_steps is not 1 to H, or a world is in Mode-1: this actor has no policy.
    """

    inputs = {**Actor.inputs, "plan": Port("plan", ("H", "A")), "action_mask": ACTION_MASK}
    ignores = ("state", "goal")

    def __init__(self, num_steps: int = 1) -> None:
        super().__init__()
        require(num_steps >= 1, f"PlanFollower.num_steps is {num_steps}: expected 1 or more")
        self.num_steps = num_steps

    def build(self, dims: Dims) -> None:
        horizon, width = self.inputs["plan"].shape(dims)
        require(self.num_steps <= horizon,
                f"PlanFollower.num_steps is {self.num_steps}: expected at most the planner's horizon, {horizon}")
        self.space = self.actions or ActionSpace(width)
        self._newest = self.num_steps == 1 and not is_held(self)

    def initial(self, batch: int) -> dict[str, Tensor]:
        if self._newest:
            return {}
        plan = torch.zeros(batch, *self.inputs["plan"].shape(self.dims))
        return {"plan": plan, **{name: torch.zeros(batch, dtype=torch.int64) for name in ("done", "index", "tick")}}

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor,
             action_mask: Tensor | None = None) -> dict[str, Tensor]:
        if bool((mode != 2).any()):
            raise SettingError("the actor received mode 1 (react), but PlanFollower has no policy. "
                               "Fix: configurator.mode=2, or an actor that reacts, such as actor=random")
        allowed = action_mask if self.space.choices else None
        if allowed is not None:
            self.space.check_mask(allowed, type(self).__name__)
        return {"action": self.decoded(state, plan[:, 0] if self._newest else self._followed(state, plan, allowed), allowed)}

    def decoded(self, state: Tensor, action: Tensor, allowed: Tensor | None) -> Tensor:
        """Return the world's actions (B, A), allowed by the mask (B, A) if there is one, for the due actions (B, U)."""
        return action if allowed is None else self.space.nearest(action, allowed)

    def _followed(self, state: Tensor, plan: Tensor, allowed: Tensor | None) -> Tensor:
        """Return the due actions (B, U), of plans taken earlier or of the arriving plans (B, H, U)."""
        done, tick = self.carry["done"], self.carry["tick"]
        age = age_of(self, tick)
        renew = done == 0
        if allowed is not None:
            due = self.decoded(state, action_at(self.carry["plan"], self.carry["index"]), None)
            renew = renew | (due.bool() & ~allowed)[:, self.space.numbers:].any(-1)
        followed = torch.where(renew[:, None, None], plan, self.carry["plan"])
        index, done = torch.where(renew, age, self.carry["index"]), torch.where(renew, 0, done)
        self.carry = {"plan": followed, "done": (done + 1) % self.num_steps, "index": index + self.every,
                      "tick": tick + self.every}
        return action_at(followed, index)
