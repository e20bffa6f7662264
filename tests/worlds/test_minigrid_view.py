"""MiniGrid-Memory as its agent sees it, and the script that collects experience there."""

import gymnasium
import minigrid  # noqa: F401  (registers its worlds)
import numpy as np
import pytest

from worlds.minigrid_scout import EAST, NORTH, SOUTH, WEST, Scout
from worlds.minigrid_view import KINDS, View


@pytest.fixture
def world():
    env = View(gymnasium.make("MiniGrid-MemoryS7-v0"))
    env.reset(seed=3)
    return env


def seen_from(world, column, row, direction):
    """Return {kind: number of cells} of the view from a place, and the map."""
    grid = world.unwrapped
    grid.agent_pos, grid.agent_dir = np.array((column, row)), direction
    both = world._read(grid.gen_obs())
    assert world.observation_space.contains(both)
    assert both["observation"][196:].tolist() == np.eye(4)[direction].tolist()
    return dict(zip(KINDS, both["observation"][:196].reshape(49, 4).sum(0).astype(int).tolist(), strict=True)), both["map"]


def test_the_view_shows_the_first_object_facing_west_and_both_arms_at_the_fork(world):
    kinds, place = seen_from(world, 3, 3, WEST)
    assert kinds["key"] + kinds["ball"] == 1 and place[5] == 1
    kinds, _ = seen_from(world, 4, 3, EAST)
    assert (kinds["key"], kinds["ball"]) == (1, 1)


def test_all_three_objects_of_the_smallest_world_are_seen_at_once_from_its_fork(world):
    kinds, _ = seen_from(world, 5, 3, WEST)
    assert kinds["key"] + kinds["ball"] == 3


def test_success_is_an_end_with_a_reward(world):
    for numbers in range(20):
        world.reset(seed=numbers)
        grid = world.unwrapped
        right = numbers % 2 == 0
        target = grid.success_pos if right else grid.failure_pos
        grid.agent_pos, grid.agent_dir = np.array((5, 3)), NORTH if target[1] < 3 else SOUTH
        _, reward, terminated, _, info = world.step(2)
        assert terminated and info["success"] == right == (reward > 0)


def test_the_same_seed_gives_the_same_episode(world):
    one, other = (world.reset(seed=8)[0] for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("size", [7, 13])
def test_the_scout_sees_the_object_and_ends_in_an_arm_that_it_does_not_choose(size):
    env, successes = View(gymnasium.make(f"MiniGrid-MemoryS{size}-v0")), []
    for number in range(30):
        seen, _ = env.reset(seed=number)
        over = False
        while not over:
            seen, _, terminated, truncated, info = env.step(int(Scout().choose(seen["map"][None])[0]))
            over = terminated or truncated
        assert terminated and seen["map"][5] == (seen["map"][6] >= 2)
        successes.append(info["success"])
    assert 6 < sum(successes) < 24
