"""Ice: a puck that slides on when it is no longer pushed shall come to a place on a frozen pond."""

import gymnasium
import numpy as np


class Ice(gymnasium.Env):
    """Seen are place and speed, and the place that is wanted; an action pushes."""

    _seen = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    observation_space = gymnasium.spaces.Dict({"observation": _seen, "goal": _seen})
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        x, y = self.np_random.uniform(0.3, 0.9, 2)
        self.puck, self.goal = np.array([x, y, 0, 0]), np.array([-x, -y, 0, 0])
        return self._shown()

    def step(self, action):
        self.puck[2:] = np.clip(0.9 * self.puck[2:] + 0.05 * action, -0.3, 0.3)
        self.puck[:2] = np.clip(self.puck[:2] + self.puck[2:], -1, 1)
        seen, info = self._shown()
        return seen, float(info["success"]), info["success"], False, info

    def _shown(self):
        seen = {"observation": self.puck.astype(np.float32), "goal": self.goal.astype(np.float32)}
        return seen, {"success": bool(np.linalg.norm((self.puck - self.goal)[:2]) < 0.15), "state": seen["observation"]}


gymnasium.register("Ice-v0", Ice, max_episode_steps=40)
