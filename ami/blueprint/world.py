"""The role of the world: the environments as a node of the agent's graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch

from ami.module import Module
from ami.ports import Port

if TYPE_CHECKING:
    from ami.envs.overlay import Overlay


class World(Module):
    """The world as a node: it receives an action one tick after it was chosen and sends the resulting observation.

    `truth` is for probes and pictures: no role has an input of that kind, so no other module can be wired to it. `episode`
    is the number of each row's episode; -1 at the ticks after its end.

    Attributes:
        reports_success: whether its episodes can succeed or fail. A world with rewards alone always sends `success` = False
            and is evaluated by its returns.
        remarks: notes on its ports for the user, one sentence each; printed by `ami check`, `ami graph` and `ami run`.
        overlay: where `truth` is in the world's picture, to draw paths over it; None: no paths are drawn.
    """

    reports_success: bool = True
    remarks: Sequence[str] = ()
    overlay: Overlay | None = None

    role: ClassVar[str] = "world"
    inputs = {"action": Port("action", ("A",))}
    outputs = {
        "observation": Port("observation", ("*O",), None),
        "goal": Port("goal_observation", ("*G",), None),
        "reward": Port("reward"),
        "terminated": Port("flag", (), torch.bool),
        "truncated": Port("flag", (), torch.bool),
        "success": Port("flag", (), torch.bool),
        "truth": Port("truth", ("X",)),
        "episode": Port("episode", (), torch.int64),
    }

    def check_elsewhere(self) -> None:
        """Raise SettingError if other processes, such as Ray's actors, cannot build this world."""

    def facts(self) -> dict[str, str]:
        """Return the facts of this world that `ami check` prints, by name."""
        return {}

    def close(self) -> None:
        """Close the environments and other external resources; a later episode opens them again."""

    def warnings(self) -> list[str]:
        """Run a trial of the world and return warnings for the user; raise the error of a failed trial."""
        return []
