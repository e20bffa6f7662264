"""200 trajectories of a waypoint controller in PointMaze as a Minari data set, made here without a download:
`python pointmaze_minari.py FOLDER/pointmaze-v0`, then see docs/data.md."""

import os
import sys
from pathlib import Path

import gymnasium
import gymnasium_robotics
import minari
import numpy as np
from minari.data_collector.episode_buffer import EpisodeBuffer

gymnasium.register_envs(gymnasium_robotics)
REPEAT = 5  # environment steps per action, as in configs/experiment/pointmaze.yaml


def waypoint(maze, position, goal):
    """Return the centre of the next cell on the shortest way to the goal, or the goal itself in its own cell."""
    start, end = (tuple(maze.cell_xy_to_rowcol(place)) for place in (position, goal))
    before, waiting = {end: end}, [end]
    for row, column in waiting:
        for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if maze.maze_map[cell[0]][cell[1]] != 1 and cell not in before:
                before[cell] = (row, column)
                waiting.append(cell)
    return goal if start == end else maze.cell_rowcol_to_xy(np.array(before[start]))


def trajectory(env, number):
    seen, _ = env.reset(seed=number)
    noise, observations, steps, over = np.random.default_rng(number), [seen], [], False
    while not over:
        position, velocity = seen["observation"][:2], seen["observation"][2:]
        push = 10 * (waypoint(env.unwrapped.maze, position, seen["desired_goal"]) - position) - velocity
        action = np.clip(push + 0.5 * noise.normal(size=2), -1, 1).astype(np.float32)
        for _ in range(REPEAT):
            seen, reward, *ends, _ = env.step(action)
            if any(ends):
                break
        observations.append(seen)
        steps.append((action, reward, *ends))
        over = any(ends)
    actions, rewards, terminations, truncations = (list(column) for column in zip(*steps, strict=True))
    return EpisodeBuffer(id=number, observations={key: np.stack([one[key] for one in observations]) for key in seen},
                         actions=np.stack(actions), rewards=rewards, terminations=terminations, truncations=truncations,
                         infos={})


def main(path, episodes=200):
    env = gymnasium.make("PointMaze_UMaze-v3", continuing_task=False, max_episode_steps=300)
    os.environ["MINARI_DATASETS_PATH"] = str(Path(path).absolute().parent)
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    minari.create_dataset_from_buffers(Path(path).name, [trajectory(env, number) for number in range(episodes)], env=env,
                                       algorithm_name="waypoints", author="none", author_email="none", code_permalink="none",
                                       description="none")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:]))
