"""RestingGoal: the goal is an observation, the goal position with zero velocity."""

import gymnasium
import gymnasium_robotics  # noqa: F401  (registers its worlds)
import numpy as np

from worlds.resting_goal import RestingGoal


def test_the_goal_is_the_position_at_rest():
    plain = gymnasium.make("PointMaze_UMaze-v3")
    seen, _ = RestingGoal(plain).reset(seed=1)
    expected, _ = plain.reset(seed=1)
    assert seen["goal"].tolist() == [*expected["desired_goal"], 0, 0]
    assert np.array_equal(seen["observation"], expected["observation"])
