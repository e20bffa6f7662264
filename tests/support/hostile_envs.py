"""Small gymnasium environments, each with one fault or unusual property: each must run correctly or be refused by name.

Ids are `tests.support.hostile_envs:hostile/NAME-v0`; the table of `tests/ami/envs/test_hostile_envs.py` holds the expected
outcomes.
"""

import os
import sys
import time

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import register


class Plain(gymnasium.Env):
    """A valid environment; the others differ from it in one respect."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(3)
    length = 12

    def observe(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), {}

    def reward(self):
        return 1.0

    def info(self):
        return {}

    def step(self, action):
        self.t += 1
        return self.observe(), self.reward(), self.t >= self.length, False, self.info()


class NanReward(Plain):
    def reward(self):
        return float("nan") if self.t == 5 else 1.0


class NanObservation(Plain):
    def observe(self):
        return np.array([0, np.nan, 0], np.float32) if self.t == 5 else np.zeros(3, np.float32)


class NeverEnds(Plain):
    length = 10**9


class OldApi(Plain):
    """The API before gymnasium 0.26: reset without info, step of four values."""

    def reset(self, seed=None, options=None):
        return super().reset(seed=seed)[0]

    def step(self, action):
        observation, reward, over, _, info = super().step(action)
        return observation, reward, over, info


class SuccessAtTheEnd(Plain):
    """Stable-Baselines' convention: `is_success` at the last step only."""

    def info(self):
        return {"is_success": True} if self.t >= self.length else {}


class SuccessOnTheWay(Plain):
    """Solved at step 3 but not at the end, as in Meta-World."""

    def info(self):
        return {"success": self.t == 3}


class Dies(Plain):
    def step(self, action):
        if self.t == 5:
            raise ConnectionError("simulator lost: port 5005")
        return super().step(action)


class Hangs(Plain):
    """A step that does not return for a minute."""

    def step(self, action):
        if self.t == 5:
            time.sleep(60)
        return super().step(action)


# Rewards, flags and infos ----------------------------------------------------------------------------------------------


class Returns(Plain):
    """Returns one odd value at step 5, given by its settings."""

    def __init__(self, **odd):
        self.odd = odd

    def step(self, action):
        seen, reward, terminated, truncated, info = super().step(action)
        usual = {"seen": seen, "reward": reward, "terminated": terminated, "truncated": truncated, "info": info}
        return tuple((usual | (self.odd if self.t == 5 else {})).values())


class RewardArray(Plain):
    def reward(self):
        return np.ones((1,), np.float64)


class OneAgain(Plain):
    """Returns the same array object at every step."""

    def reset(self, *, seed=None, options=None):
        self.seen = np.zeros(3, np.float32)
        return super().reset(seed=seed)

    def observe(self):
        self.seen[:] = self.t / 100
        return self.seen


class OldReset(Plain):
    """The current step() with the old reset()."""

    def reset(self):
        return super().reset()


class OldStep(Plain):
    """The current reset() with the old step()."""

    def step(self, action):
        observation, reward, over, _, info = super().step(action)
        return observation, reward, over, info


class OldStepWithLimit(OldStep):
    """An old step() inside gymnasium's TimeLimit, which raises itself."""


# Observations ----------------------------------------------------------------------------------------------------------


class Double(Plain):
    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def observe(self):
        return self.np_random.normal(size=3)


class Misdeclared(Plain):
    """Observations outside the bounds of their space, with another floating dtype than declared."""

    def observe(self):
        return np.full(3, 7.5)


class Scalar(Plain):
    observation_space = spaces.Box(-1, 1, (), np.float32)

    def observe(self):
        return float(self.t / 100)


class Whole(Plain):
    observation_space = spaces.Box(-5, 5, (3,), np.int64)

    def observe(self):
        return self.np_random.integers(-5, 6, 3)


class FloatPicture(Plain):
    """Declares uint8 and returns numbers from 0 to 1, which would be black as uint8."""

    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)

    def observe(self):
        return self.np_random.random((8, 8, 3)) if self.t > 1 else np.zeros((8, 8, 3))


class Grows(Plain):
    """Another shape from step 5 on."""

    def observe(self):
        return np.zeros(4 if self.t >= 5 else 3, np.float32)


class Misshapen(Plain):
    """Another shape than declared from the first reset on."""

    def observe(self):
        return np.zeros((1, 3), np.float32)


class Huge(Plain):
    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def observe(self):
        return np.array([0, 0, 1e300 if self.t == 5 else 0])


class State(Plain):
    """Its true state is not finite at step 5."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], {"state": np.zeros(2)}

    def info(self):
        return {"state": np.array([0, np.inf if self.t == 5 else 0])}


# Processes and randomness ----------------------------------------------------------------------------------------------


class Exits(Plain):
    def step(self, action):
        if self.t == 5:
            sys.exit("no licence")
        return super().step(action)


class Killed(Plain):
    """Ends the whole process."""

    def step(self, action):
        if self.t == 5:
            os._exit(3)
        return super().step(action)


class FailsAbove(Plain):
    def reset(self, *, seed=None, options=None):
        if seed >= 50:
            raise ValueError(f"seed {seed}")
        return super().reset(seed=seed)


class FailsToStart(Plain):
    def __init__(self):
        raise FileNotFoundError("no file 'maze.xml'")


class Unseeded(Plain):
    """Draws from its own generator and ignores the seed."""

    generator = np.random.default_rng(0)

    def observe(self):
        return self.generator.uniform(-1, 1, 3).astype(np.float32)


class Prints(Plain):
    def step(self, action):
        print("step", self.t)
        return super().step(action)


# spaces: tests/ami/envs/test_spaces.py --------------------------------------------------------------------------------


class ChannelFirst(Plain):
    observation_space = spaces.Box(0, 255, (3, 20, 24), np.uint8)

    def observe(self):
        return self.np_random.integers(0, 256, (3, 20, 24), dtype=np.uint8)


class Masked(Plain):
    """Raises on a masked action; at the terminal state the mask is empty."""

    observation_space = spaces.Dict({"observation": spaces.Box(-1, 1, (3,)), "action_mask": spaces.MultiBinary(3)})
    always = 0

    def observe(self):
        self.mask = self.np_random.integers(0, 2, 3).astype(np.int8)
        self.mask[self.always] = self.t < self.length
        if self.t >= self.length:
            self.mask[:] = 0
        return {"observation": super().observe(), "action_mask": self.mask.copy()}

    def step(self, action):
        if not self.mask[action]:
            raise ValueError(f"action {action} is masked by {self.mask}")
        return super().step(action)


class MaskedFirst(Masked):
    """Never allows the first action."""

    always = 2

    def observe(self):
        seen = super().observe()
        self.mask[0] = 0
        return {**seen, "action_mask": self.mask.copy()}


class MaskInInfo(Masked):
    """The mask is in the info, as in Taxi."""

    observation_space = spaces.Box(-1, 1, (3,))

    def observe(self):
        return super().observe()["observation"]

    def reset(self, *, seed=None, options=None):
        seen, _ = super().reset(seed=seed)
        return seen, {"action_mask": self.mask.copy()}

    def info(self):
        return {"action_mask": self.mask.copy()}


class MaskedMulti(Masked):
    """A mask over two choices, one flag per alternative."""

    observation_space = spaces.Dict({"observation": spaces.Box(-1, 1, (3,)), "action_mask": spaces.MultiBinary(5)})
    action_space = spaces.MultiDiscrete([3, 2])

    def observe(self):
        self.mask = np.array([0, 1, self.t % 2, 1, self.t % 3 == 0], np.int8)
        return {"observation": Plain.observe(self), "action_mask": self.mask.copy()}

    def step(self, action):
        if not (self.mask[action[0]] and self.mask[3 + action[1]]):
            raise ValueError(f"action {action} is masked by {self.mask}")
        return Plain.step(self, action)


class NothingAllowed(Masked):
    def observe(self):
        seen = super().observe()
        if self.t == 5:
            self.mask[:] = 0
        return {**seen, "action_mask": self.mask.copy()}


class ShortMask(Masked):
    observation_space = spaces.Dict({"observation": spaces.Box(-1, 1, (3,)), "action_mask": spaces.MultiBinary(2)})

    def observe(self):
        seen = super().observe()
        return {**seen, "action_mask": self.mask[:2].copy()}


class MultiDiscrete(Plain):
    action_space = spaces.MultiDiscrete([3, 2])

    def step(self, action):
        assert self.action_space.contains(action), action
        self.taken = action
        return super().step(action)


class MultiBinary(MultiDiscrete):
    action_space = spaces.MultiBinary(2)


class TupleAction(MultiDiscrete):
    action_space = spaces.Tuple((spaces.Discrete(3), spaces.Box(-2, 4, (1,))))


class DictAction(MultiDiscrete):
    action_space = spaces.Dict({"go": spaces.Box(0, 1, (2,), np.float64), "hand": spaces.Discrete(2, start=7),
                                "gear": spaces.Box(-1, 2, (1,), np.int64), "level": spaces.Box(0, 255, (1,), np.uint8)})


class PictureAndBody(Plain):
    """Two observations: every key of a Dict is a port."""

    observation_space = spaces.Dict({"image": spaces.Box(0, 255, (16, 16, 3), np.uint8), "body": spaces.Box(-1, 1, (4,))})

    def observe(self):
        return {"image": self.np_random.integers(0, 256, (16, 16, 3), dtype=np.uint8),
                "body": self.np_random.uniform(-1, 1, 4).astype(np.float32)}


class TwoVectors(Plain):
    """Two observations without a picture: together they are the port `observation`."""

    observation_space = spaces.Dict({"left": spaces.Box(-1, 1, (2,)), "right": spaces.Box(-1, 1, (3,))})

    def observe(self):
        return {"left": np.zeros(2, np.float32), "right": np.ones(3, np.float32)}


class GoalInAKey(Plain):
    observation_space = spaces.Dict({name: spaces.Box(-1, 1, (3,)) for name in ("observation", "achieved_goal",
                                                                                "desired_goal")})

    def observe(self):
        return {name: super(GoalInAKey, self).observe() for name in self.observation_space.spaces}


class Mission(Plain):
    observation_space = spaces.Dict({"observation": spaces.Box(-1, 1, (3,)), "mission": spaces.Text(40)})

    def observe(self):
        return {"observation": super().observe(), "mission": "go to the red ball"}


class LongMission(Mission):
    def observe(self):
        return {**super().observe(), "mission": "go " * 20}


for environment in [one for one in list(vars().values()) if isinstance(one, type) and issubclass(one, Plain)]:
    register(f"hostile/{environment.__name__}-v0", entry_point=environment, disable_env_checker=True,
             max_episode_steps=50 if environment is OldStepWithLimit else None)
