"""Subgoal: a state imagined by a higher-level planner is the goal of a lower-level planner."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Goal
from ami.errors import require
from ami.ports import Dims, Port


class Subgoal(Goal):
    """Takes one of the states that a plan imagines as the goal (paper, section 4.6: hierarchical planning).

    Args:
        step: the number of the imagined state, 1 to H; null for the last.

    Raises:
        SettingError: `step` is not 1 to H.
    """

    inputs = {"imagined": Port("imagined", ("H", "*S"))}
    requires = {}

    def __init__(self, step: int | None = None) -> None:
        super().__init__()
        require(step is None or step >= 1, f"Subgoal.step is {step}: expected 1 or more, or null")
        self.step_number = step

    def build(self, dims: Dims) -> None:
        horizon = int(dims["H"])  # type: ignore[arg-type]
        self.index = (self.step_number or horizon) - 1
        require(self.index < horizon, f"Subgoal.step is {self.step_number}: expected at most the plan's horizon, {horizon}")

    def step(self, imagined: Tensor) -> dict[str, Tensor]:
        return {"goal": imagined[:, self.index]}
