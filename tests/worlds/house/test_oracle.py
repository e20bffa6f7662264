"""The oracle of the house does every errand and comes back to charge; a straight line and chance do not."""

import numpy as np
import pytest

from worlds.house.oracle import Oracle
from worlds.house.world import HouseVectorEnv


def rate(kind, policy, num=8, seed=5, **settings):
    """Return the rate of success of a policy of observations on pairs of one kind."""
    env = HouseVectorEnv(num, **settings)
    pairs = [pair for pair in env.sample_pairs(seed, num) if pair["kind"] == kind]
    names = [name for name in pairs[0] if name not in ("kind", "seed")]
    seen, info = env.reset(seed=0, options={name: np.array([pair[name] for pair in pairs]) for name in names})
    over = np.zeros(num, bool)
    while not over.all():
        touring = seen["body"][:, 1].all()
        seen, _, terminated, truncated, info = env.step(np.zeros((num, 2)) if touring else policy(seen))
        over = terminated | truncated
    return info["success"].mean()


def oracle(seen):
    return Oracle().velocity(seen["state"][:, :2], seen["state"][:, 2:], seen["map"], seen["body"])


def straight(seen):
    return (seen["state"][:, 2:] - seen["state"][:, :2]) / 2


@pytest.mark.parametrize("settings", [{}, {"shut": True}, {"rooms": 4}], ids=str)
def test_the_oracle_does_far_errands(settings):
    assert rate("far", oracle, **settings) == 1


def test_the_oracle_survives_lives_and_without_charging_they_are_lost():
    def never_empty(seen):
        body = seen["body"].copy()
        body[:, 0] = 1e6
        return Oracle().velocity(seen["state"][:, :2], seen["state"][:, 2:], seen["map"], body)

    assert rate("life", never_empty, battery=70.0) <= 0.5
    assert rate("life", oracle, battery=70.0) == 1


def test_straight_lines_end_at_walls():
    assert rate("far", straight) <= 0.2
