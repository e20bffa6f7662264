"""Pairs: a world's own, or seeds whose episode is not solved at its start."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from ami.envs.world import GymWorld
from ami.errors import SettingError


def test_a_world_without_goals_gives_seeds_for_an_evaluation() -> None:
    pendulum = GymWorld("Pendulum-v1")
    pairs = pendulum.sample_pairs(seed=3, num_pairs=20)
    assert all(pair.keys() == {"kind", "seed"} and pair["kind"] == "episode" for pair in pairs)
    assert len({pair["seed"] for pair in pairs}) == 20
    assert pairs == pendulum.sample_pairs(3, 20) and pairs != pendulum.sample_pairs(4, 20)


class Near(gymnasium.Env):
    """Some episodes begin at the goal, as if start and goal were drawn independently."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, share: float = 0.5):
        self.share = share

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {"success": bool(self.np_random.random() < self.share)}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, True, {"success": False}


def test_episodes_solved_at_their_start_are_left_out_of_an_evaluation() -> None:
    near = GymWorld(entry_point=f"{__name__}:Near")
    pairs = near.sample_pairs(3, 20)
    assert pairs == near.sample_pairs(3, 20) and len({pair["seed"] for pair in pairs}) == 20
    assert not any(Near().reset(seed=pair["seed"])[1]["success"] for pair in pairs)
    every = [pair["seed"] for pair in GymWorld(entry_point=f"{__name__}:Near", share=0.0).sample_pairs(3, 60)]
    assert [pair["seed"] for pair in pairs] == [s for s in every if not Near().reset(seed=s)[1]["success"]][:20], "in order"


def test_a_world_with_only_solved_starts_is_refused() -> None:
    with pytest.raises(SettingError, match=r"Near: of 100 episodes 100 are solved at their start: expected 2 that are not\. "
                                           r"Fix: reset\(\) must draw a start that is not at the goal"):
        GymWorld(entry_point=f"{__name__}:Near", share=1.0).sample_pairs(3, 2)


def test_a_world_with_goals_gives_its_own_pairs() -> None:
    rooms = GymWorld("worlds:ami/TwoRooms-v0")
    pairs = rooms.sample_pairs(seed=3, num_pairs=2)
    assert [pair["kind"] for pair in pairs] == ["same_room", "same_room", "across", "across"]
    assert pairs == rooms.rows.drawing.unwrapped.sample_pairs(seed=3, num_pairs=2)
