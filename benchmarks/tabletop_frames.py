"""Frames per second of the table top on one core, everything in `env.step` included; a picture of its places and tasks.

    python benchmarks/tabletop_frames.py

Prints a table, writes benchmarks/results/tabletop_frames.json and docs/tabletop.png. A frame is one row of one `step`:
motion, the picture and the copy of the goal. Processor time, median of several repeats with random actions; other load
lowers it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import gymnasium
import numpy as np
from PIL import Image
from record import record

from worlds.tabletop.episodes import PAIR_KINDS
from worlds.tabletop.expert import Expert
from worlds.tabletop.looks import FACTORS
from worlds.tabletop.world import TableTopVectorEnv

TARGET = 10_000  # frames/s with 64 rows of 48 px
NUM_REPEATS, NUM_STEPS = 7, 16
PICTURE = Path(__file__).parents[1] / "docs" / "tabletop.png"
ZOOM, BORDER, SEED = 3, 3, 5


def measure(num_envs: int, size: int) -> dict[str, Any]:
    """Return median and range of the frames per second of `num_envs` rows with random actions."""
    env = gymnasium.make_vec("worlds:ami/TableTop-v0", num_envs=num_envs, vectorization_mode="vector_entry_point", size=size)
    rng, rates = np.random.default_rng(0), []
    for repeat in range(NUM_REPEATS + 1):
        env.reset(seed=repeat * num_envs)
        actions = rng.uniform(-1, 1, (NUM_STEPS, num_envs, 3))
        began = time.process_time()
        for action in actions:
            env.step(action)
        rates.append(NUM_STEPS * num_envs / (time.process_time() - began))
    del rates[0]  # it warms up
    return {"num_envs": num_envs, "size": size, "frames_per_second": round(statistics.median(rates)),
            "lowest": round(min(rates)), "highest": round(max(rates))}


def places() -> list[np.ndarray]:
    """Return the picture of one episode as learning sees its place, with each factor unseen alone, and with all of them."""
    shown = []
    for unseen in ("none", *FACTORS, "all"):
        env = TableTopVectorEnv(unseen=unseen)
        shown.append(started(env, "pick_and_place")[0]["observation"][0])
    return shown


def task(kind: str) -> list[np.ndarray]:
    """Return an episode of the expert in an unseen place: six pictures, and the goal."""
    env = TableTopVectorEnv()
    seen, info = started(env, kind)
    shown, goal = [seen["observation"][0]], seen["goal"][0]
    while not info["success"][0]:
        seen, *_, info = env.step(Expert().action(seen["state"]))
        shown.append(seen["observation"][0])
    return [*(shown[index] for index in np.linspace(0, len(shown) - 1, 6).round().astype(int)), goal]


def started(env: TableTopVectorEnv, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reset to the first pair of a kind."""
    pair = next(pair for pair in env.sample_pairs(SEED, 1) if pair["kind"] == kind)
    return env.reset(seed=0, options={name: np.asarray(value)[None] for name, value in pair.items()
                                      if name not in ("kind", "seed")})


def draw() -> None:
    """Write the picture: a row of places, then a row per task."""
    lines = [places(), *map(task, PAIR_KINDS)]
    framed = [[np.pad(one.repeat(ZOOM, 0).repeat(ZOOM, 1), ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), constant_values=255)
               for one in line] for line in lines]
    whole = np.concatenate([np.concatenate(line, axis=1) for line in framed])
    Image.fromarray(whole).save(PICTURE, optimize=True)
    print(f"written to {PICTURE.relative_to(Path(__file__).parents[1])}")


def main() -> int:
    rows = [measure(num_envs, size) for num_envs in (1, 64, 256) for size in (32, 48, 64)]
    print(f"{'rows':>5} {'px':>4} {'frames/s':>10} {'lowest':>10} {'highest':>10}")
    for row in rows:
        numbers = (f"{row[name]:>10,}" for name in ("frames_per_second", "lowest", "highest"))
        print(f"{row['num_envs']:>5} {row['size']:>4}", *numbers)
    draw()
    met = all(row["frames_per_second"] >= TARGET for row in rows if (row["num_envs"], row["size"]) == (64, 48))
    record("tabletop_frames", {"num_repeats": NUM_REPEATS, "target_frames_per_second_at_64_rows_of_48_px": TARGET,
                               "met": met, "figures": rows})
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
