"""Frames per second of the two-rooms world on one core, everything in `env.step` included.

    python benchmarks/rendering.py

Prints a table and writes benchmarks/results/rendering.json. A frame is one row of one `step`: motion, the 32
x 32 picture and the copy of the goal. Wall time, median of several repeats; other load lowers it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import gymnasium
import numpy as np
from record import record

TARGET = 20_000  # frames/s with 64 rows
NUM_REPEATS, SECONDS_PER_REPEAT = 7, 0.3


def measure(num_envs: int, door: str, noise: str = "none") -> dict[str, float | int | str]:
    """Return median and range of the frames per second of `num_envs` rows with random actions."""
    env = gymnasium.make_vec(
        "worlds:ami/TwoRooms-v0", num_envs=num_envs, vectorization_mode="vector_entry_point", door=door, noise=noise
    )
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (16, num_envs, 2)).astype(np.float32)
    rates = [repeat(env, actions) for _ in range(NUM_REPEATS + 1)][1:]  # the first one warms up
    return {
        "num_envs": num_envs,
        "door": door,
        "noise": noise,
        "frames_per_second": round(statistics.median(rates)),
        "lowest": round(min(rates)),
        "highest": round(max(rates)),
    }


def repeat(env: gymnasium.vector.VectorEnv, actions: np.ndarray) -> float:
    """Return the frames per second of one repeat; actions (16, B, 2). Rows whose episode is over are rendered and count."""
    num_frames, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < SECONDS_PER_REPEAT:
        for action in actions:
            env.step(action)
        num_frames += len(actions) * env.num_envs
    return num_frames / elapsed


def main() -> int:
    rows = [measure(num_envs, door) for num_envs in (1, 64, 256) for door in ("fixed", "random")]
    rows += [measure(64, "fixed", noise) for noise in ("tv", "background")]
    print(f"{'rows':>5} {'door':>8} {'noise':>10} {'frames/s':>10} {'lowest':>10} {'highest':>10}")
    for row in rows:
        numbers = (f"{row[name]:>10,}" for name in ("frames_per_second", "lowest", "highest"))
        print(f"{row['num_envs']:>5} {row['door']:>8} {row['noise']:>10}", *numbers)
    met = all(row["frames_per_second"] >= TARGET for row in rows if row["num_envs"] == 64 and row["noise"] == "none")
    record("rendering", {"size": 32, "num_repeats": NUM_REPEATS, "seconds_per_repeat": SECONDS_PER_REPEAT,
                         "target_frames_per_second_at_64_rows": TARGET, "met": met, "figures": rows})
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
