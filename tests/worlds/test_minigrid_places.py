"""MiniGrid's grid as symbols: positions of agent, key, door and goal, the door's state, and the carried key."""

import gymnasium
import minigrid  # noqa: F401  (registers its worlds)
import numpy as np
import pytest
from minigrid.core.actions import Actions

from worlds.minigrid_places import Places


@pytest.fixture
def world():
    env = Places(gymnasium.make("MiniGrid-DoorKey-6x6-v0"))
    env.reset(seed=3)
    return env


def read(vector):
    """Return {object: (column, row) or None}, direction, the door's state, and whether the key is carried."""
    ones = [np.flatnonzero(part) for part in np.split(vector[:48], 8)]
    places = {name: (int(ones[2 * i][0]), int(ones[2 * i + 1][0])) if len(ones[2 * i]) else None
              for i, name in enumerate(("agent", "key", "door", "goal"))}
    return places, int(vector[48:52].argmax()), vector[52:55].tolist(), bool(vector[55])


def test_observation_holds_every_position(world):
    seen, _ = world.reset(seed=3)
    assert world.observation_space.contains(seen) and set(seen.tolist()) == {0, 1}
    places, direction, door, carried = read(seen)
    grid = world.unwrapped
    assert places["agent"] == tuple(grid.agent_pos) and direction == grid.agent_dir
    for name in ("key", "door", "goal"):
        assert grid.grid.get(*places[name]).type == name
    assert door == [0, 0, 1] and not carried


def test_a_carried_key_has_no_position(world):
    grid = world.unwrapped
    column, row = read(world.observation(None))[0]["key"]
    for (dx, dy), facing in (((1, 0), 2), ((0, 1), 3), ((-1, 0), 0), ((0, -1), 1)):
        if grid.grid.get(column + dx, row + dy) is None:
            grid.agent_pos, grid.agent_dir = (column + dx, row + dy), facing
            break
    places, _, _, carried = read(world.step(Actions.pickup)[0])
    assert places["key"] is None and carried


def test_an_open_door_is_shown_open(world):
    column, row = read(world.observation(None))[0]["door"]
    world.unwrapped.grid.get(column, row).is_locked = False
    world.unwrapped.grid.get(column, row).is_open = True
    assert read(world.observation(None))[2] == [1, 0, 0]
