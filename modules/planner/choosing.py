"""The base class of planners for discrete actions: every action of a plan is one-hot.

Shapes: R the rows that plan, K candidates, H horizon, A the number of alternatives, over all C choices.
"""

from __future__ import annotations

from ami.errors import SettingError
from ami.ports import ActionSpace
from modules.planner.sampling import SamplingPlanner


class ChoicePlanner(SamplingPlanner):
    """A search over discrete actions: every action of a plan is one alternative of each choice, (…, A) in {0, 1}.

    Continuous and mixed action spaces are refused.
    """

    def check_actions(self, actions: ActionSpace) -> None:
        if not actions.is_discrete:
            raise SettingError(f"{type(self).__name__} plans choices, but here an action is {actions}. "
                               "Fix: planner=cem, or another planner of continuous actions")
