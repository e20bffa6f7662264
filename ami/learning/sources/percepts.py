"""Percepts: windows of what a frozen perception makes of the experience, encoded once instead of at every step."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ami.blueprint import Perception
from ami.errors import require
from ami.learning.sources.source import Draw, Supply, check_role, the_one
from ami.learning.sources.windows import Windows
from ami.learning.states import percepts_of
from ami.module import Module


class Percepts(Windows):
    """Windows as `Windows` draws them, with "percept" (N, T + 1, *P) in place of "observation".

    Args:
        length: T, the number of actions of a window.
        terminal_share, stride, alpha, beta, shuffle_actions: as in `Windows`.
        perception: the node of the perception; None for the only one.

    Raises:
        SettingError: a setting is out of its range; or, when it is opened, the perception is trained at the same time: its
            percepts would change with every step.
    """

    made_by = "perception computed it"

    def __init__(self, length: int = 5, terminal_share: float = 0.0, stride: int = 1, alpha: float = 0.0,
                 beta: float = 0.4, shuffle_actions: bool = False, perception: str | None = None) -> None:
        super().__init__(length, terminal_share, stride, alpha, beta, shuffle_actions)
        check_role(perception, "Percepts.perception")
        self.perception = perception

    def open(self, supply: Supply) -> Draw:
        node, perception = the_one(supply.modules, Perception, self.perception, f"learning.stages.{supply.stage}.source")
        require(node not in supply.trained,
                f"the source of learning.stages.{supply.stage} encodes the experience by {node} once, but {node} is trained "
                f"at the same time: expected a frozen perception. Fix: source=windows, or leave {node} out of `train`")
        experience = supply.experience
        percepts = percepts_of(experience, perception, supply.scratch)
        first = experience.first - experience.first[:1]  # percepts are numbered from the first row that is kept

        def rows(chosen: torch.Tensor) -> dict[str, torch.Tensor]:
            window = experience.windows(chosen, self.length)
            at = (first[chosen[:, 0]] + chosen[:, 1])[:, None] + torch.arange(self.length + 1)
            return {"percept": percepts.rows(at)} | {name: value for name, value in window.items() if name != "observation"}

        return self.drawn(supply, rows)

    def nodes(self, modules: Mapping[str, Module]) -> set[str]:
        return {self.perception} if self.perception else {
            node for node, module in modules.items() if isinstance(module, Perception)}
