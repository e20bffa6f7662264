"""Trial: one whole episode of random actions in a world, before any work.

It finds what the first step does not show: a late fault, an episode that does not end, a success that is reported at the
last step only, an ignored seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ami.blueprint import Episode
from ami.rollout import is_over

if TYPE_CHECKING:
    from ami.envs.world import GymWorld

TRIAL = 2_000
"""The largest number of steps in a trial."""
REPLAYED = 20
"""The number of steps that the same seed and actions must reproduce."""
SEED = 0
SAME = ("observation", "goal", "reward")


@dataclass(frozen=True)
class Trial:
    """The result of an episode of random actions.

    Attributes:
        steps: its number of steps, at most `TRIAL`.
        ended: whether it ended within them.
        reports_success: whether a reset or a step reported success or failure.
        solved_at: the first step at which it was solved; None if it was not.
        solved_at_end: whether it was solved at its last step.
        is_seeded: whether the same seed and actions reproduced its beginning.
    """

    steps: int
    ended: bool
    reports_success: bool
    solved_at: int | None
    solved_at_end: bool
    is_seeded: bool


def try_out(world: GymWorld) -> Trial:
    """Run an episode of random actions in one row of a separate world, then its beginning a second time.

    Raises:
        WorldFault: the environment fails in it.
    """
    first, solved_at, solved, over, steps = [], None, False, False, 0
    for steps, sent in enumerate(_episode(world, TRIAL)):
        if steps <= REPLAYED:
            first.append(sent)
        solved, over = bool(sent["success"]), bool(is_over(sent))
        solved_at = steps if solved and solved_at is None else solved_at
    reports = world._reports_success
    second = list(_episode(world, REPLAYED))
    same = len(first) == len(second) and all(torch.equal(one[port], other[port])
                                             for one, other in zip(first, second, strict=True) for port in SAME)
    return Trial(steps, over, reports, solved_at, solved, same)


def _episode(world: GymWorld, limit: int) -> Iterator[dict[str, Tensor]]:
    """Yield the world's outputs at each tick, up to the end of an episode or `limit` steps."""
    every, draw = torch.ones(1, dtype=torch.bool), torch.Generator().manual_seed(SEED)
    world.begin(every, [Episode(0, SEED)])
    sent: dict[str, Tensor] = {}
    for _ in range(limit + 1):
        uniform = torch.rand(1, world.space.num_draws, generator=draw)
        sent = world.step(action=world.space.draw(uniform, sent.get("action_mask")))
        yield sent
        if bool(is_over(sent)):
            return
