"""The schedule of a training: phases, each of which collects experience or runs stages.

A round collects experience and then runs every stage once: one after another, a phase each, or all in one phase, their steps
spread evenly over it. In a phase that acts, an agent's own episodes come in while all stages learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ami.learning.stage import Stage


class Phase(NamedTuple):
    """One phase of the schedule.

    Attributes:
        key: the hash of its dependencies.
        round: the round's index, from 0.
        stages: the stages that learn at once; none in a phase that collects.
        nodes: the nodes whose weights the cache stores for the phase.
        acts: whether an agent acts while the stages learn, and brings more experience (`ami.learning.online`).
    """

    key: str
    round: int
    stages: tuple[Stage, ...] = ()
    nodes: tuple[str, ...] = ()
    acts: bool = False

    @property
    def name(self) -> str:
        """The name of its results in the cache."""
        return f"phase-{self.key}"


def due(stages: Sequence[Stage], done: int = 0) -> Iterator[Stage]:
    """Yield which stage takes the next step, until all have taken theirs.

    Stages take turns in proportion to their steps: after a share of the phase each has taken that share of its own.

    Args:
        stages: stages that learn at once.
        done: the number of steps already taken by all of them together.
    """
    longest = max((stage.steps for stage in stages), default=0)
    turns = (stage for turn in range(longest) for stage in stages
             if (turn + 1) * stage.steps // longest > turn * stage.steps // longest)
    for number, stage in enumerate(turns):
        if number >= done:
            yield stage
