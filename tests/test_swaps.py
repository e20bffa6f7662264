"""Every default module swapped for each of its alternatives: it lives ten ticks, or is refused with a reason.

The list is generated from `configs/`. A leaf that is new there is expected to live; why one cannot is told here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import pytest

from ami.agent import Agent
from ami.blueprint import Episode
from ami.cli.listing import SECTIONS, leaves
from ami.config.compose import compose, to_graph
from ami.errors import AmiError
from ami.runtime.local import LocalRuntime

TICKS, WORLDS = 10, 2
LEAVES = [f"{group}={name}" for section in ("modules", "worlds") for group in SECTIONS[section] for name, _ in leaves(group)]
SEEN = ["world.observe=state", "perception=identity", "goal=vector"]
GYM = ["world=gym", "perception=vector", "goal=none"]
REFUSED = {
    "perception=identity": ("JEPA receives percepts of shape (32, 32, 3): expected vectors", ["world.observe=state"]),
    "world_model=simulator": ("expected the true state as percept. Fix: perception=identity", SEEN),
    "goal=trail": ("Fix: graph.goal.state=world_model.state", ["graph.goal.state=world_model.state"]),
    "goal=vector": ("wrong shape along goal.goal → cost.goal: cost has S = (64,), not (32, 32, 3)",
                    ["world_model=simulator", *SEEN]),
    "cost=curiosity": ("Fix: world_model=ensemble", ["world_model=ensemble"]),
    "cost=reward": ("Fix: world_model.rewards=true", ["world_model.rewards=true"]),
    "planner=categorical": ("plans choices, but here an action is 2 numbers in [-1, 1]", GYM),
    "planner=tree": ("plans choices, but here an action is 2 numbers in [-1, 1]", GYM),
    "configurator=surprise_gate": ("an actor that reacts", ["actor=policy"]),
}
"""Why a leaf is no swap on its own, and what else has to be chosen for it."""


def ticks(overrides: Sequence[str]) -> int:
    """How many ticks the mind lives with initial weights."""
    with Agent(LocalRuntime(to_graph(compose(overrides)))) as agent:
        return sum(1 for _ in islice(agent.live([Episode(number, seed=number) for number in range(WORLDS)]), TICKS))


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf not in REFUSED])
def test_a_swap_lives(leaf: str) -> None:
    assert ticks([leaf]) == TICKS


@pytest.mark.parametrize("leaf", REFUSED)
def test_a_swap_that_is_refused_says_why(leaf: str) -> None:
    with pytest.raises(AmiError) as error:
        ticks([leaf])
    assert REFUSED[leaf][0] in str(error.value)


@pytest.mark.parametrize("leaf", REFUSED)
def test_a_refused_swap_lives_with_what_belongs_to_it(leaf: str) -> None:
    assert ticks([leaf, *REFUSED[leaf][1]]) > 0


def test_what_is_refused_is_on_the_menu() -> None:
    assert set(REFUSED) <= set(LEAVES)
