"""A goal that is an observation: at rest where the goal is."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict


class RestingGoal(gymnasium.ObservationWrapper):
    """A goal-conditioned world whose observation begins with the place to be reached, such as gymnasium-robotics' mazes.

    "observation" stays as it is; "goal" is the observation at the desired place, all other numbers (velocities) 0. So what
    is wanted can be perceived like what is seen.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        space: Any = env.observation_space
        self.observation_space = Dict(observation=space["observation"], goal=space["observation"])

    def observation(self, observation: Any) -> dict[str, np.ndarray]:
        """{"observation", "goal"}, each (D,)."""
        goal = np.zeros_like(observation["observation"])
        goal[: len(observation["desired_goal"])] = observation["desired_goal"]
        return {"observation": observation["observation"], "goal": goal}
