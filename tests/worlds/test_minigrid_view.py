"""MiniGrid-Memory as its agent sees it, and the script that collects experience there."""

import gymnasium
import minigrid  # noqa: F401  (registers its worlds)
import numpy as np
import pytest
from minigrid.core.world_object import Ball, Key

from worlds.minigrid_scout import EAST, NORTH, SOUTH, WEST, Scout
from worlds.minigrid_view import KINDS, View


@pytest.fixture
def world():
    env = View(gymnasium.make("MiniGrid-MemoryS7-v0"))
    env.reset(seed=3)
    return env


def seen_from(world, column, row, direction):
    """Return {kind: number of cells} of the view from a place, the map, and the observation."""
    grid = world.unwrapped
    grid.agent_pos, grid.agent_dir = np.array((column, row)), direction
    both = world._read(grid.gen_obs())
    assert world.observation_space.contains(both)
    assert both["observation"][196:].tolist() == np.eye(4)[direction].tolist()
    counts = both["observation"][:196].reshape(49, 4).sum(0).astype(int).tolist()
    return dict(zip(KINDS, counts, strict=True)), both["map"], both["observation"]


def test_the_view_shows_the_first_object_facing_west_and_both_arms_at_the_fork(world):
    kinds, place, _ = seen_from(world, 3, 3, WEST)
    assert kinds["key"] + kinds["ball"] == 1 and place[5] == 1
    kinds, *_ = seen_from(world, 4, 3, EAST)
    assert (kinds["key"], kinds["ball"]) == (1, 1)


def test_all_three_objects_of_the_smallest_world_are_seen_at_once_from_its_fork(world):
    kinds, *_ = seen_from(world, 5, 3, WEST)
    assert kinds["key"] + kinds["ball"] == 3


@pytest.mark.parametrize(("size", "at_once"), [(7, True), (11, False), (13, False)])
def test_only_the_smallest_world_shows_the_first_object_and_the_arms_at_once(size, at_once):
    env = View(gymnasium.make(f"MiniGrid-MemoryS{size}-v0"))
    env.reset(seed=3)
    grid = env.unwrapped.grid
    (fork, arm), middle = env.unwrapped.success_pos, size // 2
    outer = 1 if arm < middle else -1  # the objects stand beyond the arms
    first, arms = (1, middle - 1), [(fork, arm - outer), (fork, size - 1 - arm + outer)]

    def views(place, objects):
        """Return the views from a place with one kind of object on each of some cells, and with the other."""
        kept, found = [grid.get(*cell) for cell in objects], []
        for kind in (Key, Ball):
            for cell in objects:
                grid.set(*cell, kind())
            found.append(seen_from(env, *place)[2])
        for cell, thing in zip(objects, kept, strict=True):
            grid.set(*cell, thing)
        return found

    both = [place for place in ((column, middle, direction) for column in range(1, fork + 1) for direction in range(4))
            if all((one != other).any() for one, other in (views(place, [first]), views(place, arms)))]
    assert bool(both) == at_once


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
        over, went_back = False, False
        while not over:
            before = seen["map"]
            seen, _, terminated, truncated, info = env.step(int(Scout().choose(before[None])[0]))
            went_back |= bool(seen["map"][5] > before[5] and before[7])
            over = terminated or truncated
        assert terminated and seen["map"][5] == (seen["map"][6] >= 2) and went_back == (seen["map"][6] >= 4)
        successes.append(info["success"])
    assert 6 < sum(successes) < 24
