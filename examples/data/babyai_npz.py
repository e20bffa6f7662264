"""200 trajectories of BabyAI's expert bot as two npz files: `python babyai_npz.py FOLDER`, then see docs/data.md."""

import sys
from pathlib import Path

import gymnasium
import minigrid  # noqa: F401  (registers the environments)
import numpy as np
from minigrid.utils.baby_ai_bot import BabyAIBot


def trajectory(env, seed):
    """Return the observations (n + 1, 7, 7, 3), actions, rewards and terminations (n,) of one episode."""
    seen, _ = env.reset(seed=seed)
    bot, observations, steps, action, over = BabyAIBot(env.unwrapped), [seen["image"]], [], None, False
    while not over:
        action = bot.replan(action)
        seen, reward, *ends, _ = env.step(int(action))
        observations.append(seen["image"])
        steps.append((int(action), reward, ends[0]))
        over = any(ends)
    return np.stack(observations), *map(np.array, zip(*steps, strict=True))


def main(folder, episodes=200, files=2):
    env = gymnasium.make("BabyAI-GoToRedBallNoDists-v0")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in range(files):
        seeds = range(number * episodes // files, (number + 1) * episodes // files)
        observations, actions, rewards, terminations = zip(*(trajectory(env, seed) for seed in seeds), strict=True)
        np.savez_compressed(Path(folder) / f"{number}.npz", observations=np.concatenate(observations),
                            actions=np.concatenate(actions), rewards=np.concatenate(rewards),
                            terminations=np.concatenate(terminations), steps=[len(one) for one in actions])


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:]))
