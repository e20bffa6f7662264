"""MacroTarget: the state at which a macro-action of level 2 aims is the goal of level 1."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Goal
from ami.module import Call
from ami.ports import Port


class MacroTarget(Goal):
    """Turns the first macro-action of a plan of level 2 into a goal for level 1 (paper, section 4.6: hierarchical planning).

    The goal is computed from the state of level 1 at the ticks at which this node fires, those at which level 2 plans. The
    macro-action is an output, too: it is the last action of level 2 for its world model.
    """

    inputs = {"state": Port("state", ("*Q",)), "plan": Port("plan", ("H", "U"))}
    outputs = {**Goal.outputs, "action": Port("action", ("U",))}
    requires = {"level2": Call(("target",), {"P": "Q", "U": "U"})}

    def step(self, state: Tensor, plan: Tensor) -> dict[str, Tensor]:
        action = plan[:, 0]
        return {"goal": self.calls.level2.target(state, action), "action": action}
