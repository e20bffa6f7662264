"""MacroTarget: the aim of a plan's first macro-action, and the macro-action itself."""

import torch

from ami.module import Callee, Calls
from modules.goal.macro_target import MacroTarget
from modules.world_model.hwm import HWM


def test_the_goal_is_the_aim_of_the_first_macro_action():
    level2 = HWM(ticks=2, width=3, hidden=8)
    level2.set_up({"P": (4,), "S": (4,), "A": 3, "L": 2})
    node = MacroTarget()
    node.set_up({"Q": (4,), "H": 5, "U": 3})
    node.calls = Calls("goal", {"level2": Callee("level2", level2)})
    state, plan = torch.randn(2, 4), torch.rand(2, 5, 3)
    sent = node.step(state=state, plan=plan)
    assert torch.equal(sent["action"], plan[:, 0])
    assert torch.equal(sent["goal"], level2.target(state, plan[:, 0]))
    assert not torch.equal(sent["goal"], level2.target(state, plan[:, 1]))
