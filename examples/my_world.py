"""Ice: a puck on a frozen pond has to reach a goal position; it keeps sliding when it is not pushed."""

import gymnasium
import numpy as np


class Ice(gymnasium.Env):
    """Observation and goal are a position and a velocity; an action accelerates the puck."""

    _space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    observation_space = gymnasium.spaces.Dict({"observation": _space, "goal": _space})
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        x, y = self.np_random.uniform(0.3, 0.9, 2)
        self.puck, self.goal = np.array([x, y, 0, 0]), np.array([-x, -y, 0, 0])
        return self._observe()

    def step(self, action):
        self.puck[2:] = np.clip(0.9 * self.puck[2:] + 0.05 * action, -0.3, 0.3)
        self.puck[:2] = np.clip(self.puck[:2] + self.puck[2:], -1, 1)
        obs, info = self._observe()
        return obs, float(info["success"]), info["success"], False, info

    def _observe(self):
        obs = {"observation": self.puck.astype(np.float32), "goal": self.goal.astype(np.float32)}
        return obs, {"success": bool(np.linalg.norm((self.puck - self.goal)[:2]) < 0.15), "state": obs["observation"]}


gymnasium.register("Ice-v0", Ice, max_episode_steps=40)
