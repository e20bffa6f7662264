"""The expert and the true dynamics solve every task; chance and a straight line do not."""

import numpy as np
import pytest

from worlds.tabletop.dynamics import Dynamics
from worlds.tabletop.episodes import PAIR_KINDS
from worlds.tabletop.expert import Expert
from worlds.tabletop.world import TableTopVectorEnv


def rate(kind, policy, num=40, seed=11, **settings):
    """Return the rate of success of a policy of the port `state` on pairs of one kind."""
    env = TableTopVectorEnv(num, observe="state", **settings)
    pairs = [pair for pair in env.sample_pairs(seed, num) if pair["kind"] == kind]
    seen, info = env.reset(seed=0, options={name: np.array([pair[name] for pair in pairs])
                                            for name in pairs[0] if name not in ("kind", "seed")})
    assert not info["success"].any(), "no pair is solved at its start"
    over = np.zeros(num, bool)
    while not over.all():
        seen, _, terminated, truncated, info = env.step(policy(seen["state"]))
        over = terminated | truncated
    return info["success"].mean()


@pytest.mark.parametrize(("kind", "least"), [("reach", 0.95), ("grasp", 0.95), ("reach_with_object", 0.95),
                                             ("pick_and_place", 0.95)])
@pytest.mark.parametrize("settings", [{}, {"subgoals": True}], ids=str)
def test_the_expert_solves_every_task(kind, least, settings):
    assert rate(kind, Expert().action, **settings) >= least


@pytest.mark.parametrize("kind", PAIR_KINDS)
def test_random_actions_solve_hardly_any_task(kind):
    rng = np.random.default_rng(0)
    assert rate(kind, lambda seen: rng.uniform(-1, 1, (len(seen), 3))) <= 0.2


def test_a_straight_line_grasps_and_places_nothing():
    def straight(seen):
        state, goal = np.split(seen, 2, axis=1)
        return (goal - state)[:, :3] / 3

    assert rate("reach", straight) >= 0.9 and rate("grasp", straight) <= 0.1 and rate("pick_and_place", straight) <= 0.1


def test_the_dynamics_foresee_the_world_and_the_experts_way_comes_nearer():
    env = TableTopVectorEnv(4, observe="state")
    pairs = env.sample_pairs(2, 1)
    seen, _ = env.reset(seed=0, options={name: np.array([pair[name] for pair in pairs])
                                         for name in pairs[0] if name not in ("kind", "seed")})
    dynamics, distances = Dynamics(), []
    state = env._state.copy()
    for _ in range(30):
        distances.append(dynamics.distance(seen["observation"], seen["goal"]))
        action = Expert().action(seen["state"])
        running = ~env._success
        state[running] = dynamics.step(state, action)[running]
        seen, *_, info = env.step(action)
        np.testing.assert_allclose(state[:, :4], env._state[:, :4], atol=1e-6)
    assert info["success"].all()
    last = dynamics.distance(seen["observation"], seen["goal"])
    assert (last <= 2.5).all() and (last < distances[0]).all()


def test_dynamics_broadcast_over_candidates():
    env = TableTopVectorEnv(3, observe="state")
    seen, _ = env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 5, 3)).astype(np.float32)
    after = Dynamics().step(seen["observation"][:, None], actions)
    assert after.shape == (3, 5, seen["observation"].shape[1]) and after.dtype == np.float32
    np.testing.assert_array_equal(after[1, 2], Dynamics().step(seen["observation"][1], actions[1, 2]))
    assert Dynamics().distance(after, seen["goal"][:, None]).shape == (3, 5)


@pytest.mark.parametrize("speed", [0, 1.5, True])
def test_an_impossible_speed_is_refused(speed):
    with pytest.raises(ValueError, match=rf"Expert.speed={speed} is not possible; expected a number above 0, up to 1."):
        Expert(speed)
