"""Follows a plan of latent actions.

Shapes: B parallel worlds, H horizon, A action width, U the width of a latent action.
"""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import ACTION_MASK, Actor
from ami.module import Call
from ami.ports import Port
from modules.actor.plan_follower import PlanFollower


class PlanDecoder(PlanFollower):
    """A `PlanFollower` for plans of latent actions: the world model decodes the due one, in the current state, to an action.
    Wire the call: `graph.actor.calls.world_model=world_model`. If the world's mask forbids the action, the newest plan is
    taken; of its action, each choice's allowed alternative with the largest decoded value.

    Args:
        num_steps: as in `PlanFollower`.

    Raises:
        SettingError: as in `PlanFollower`.
    """

    inputs = {**Actor.inputs, "plan": Port("plan", ("H", "U")), "action_mask": ACTION_MASK}
    requires = {"world_model": Call(("decode_action",), {"S": "S", "U": "U", "A": "A"})}
    equal_dims = {}

    def decoded(self, state: Tensor, action: Tensor, allowed: Tensor | None) -> Tensor:
        taken: Tensor = self.calls.world_model.decode_action(state, action)
        return self.space.nearest(taken, allowed) if self.space.choices else taken
