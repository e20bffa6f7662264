"""Goal observations: at rest at the goal position."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict


class RestingGoal(gymnasium.ObservationWrapper):
    """For goal-conditioned worlds whose observation begins with the position, such as gymnasium-robotics' mazes.

    "observation" is unchanged; "goal" is the observation at the desired position, with all other numbers (velocities) 0, so
    that goals are encoded like observations.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        space: Any = env.observation_space
        self.observation_space = Dict(observation=space["observation"], goal=space["observation"])

    def observation(self, observation: Any) -> dict[str, np.ndarray]:
        """Return {"observation", "goal"}, each (D,)."""
        goal = np.zeros_like(observation["observation"])
        goal[: len(observation["desired_goal"])] = observation["desired_goal"]
        return {"observation": observation["observation"], "goal": goal}
