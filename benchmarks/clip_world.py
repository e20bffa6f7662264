"""Clips of the table top with labels: an object that is carried through the picture with one velocity.

The middle of the path is anywhere, its direction too, and start and end are equally far from the middle: no single frame
shows the velocity. A clip is the inner half of a picture of twice its size, so that objects are large beside a patch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from worlds.tabletop.episodes import DIRECTIONS, Rules, one_stream, sample_episode
from worlds.tabletop.labels import labels_of
from worlds.tabletop.physics import SPEED, TABLE
from worlds.tabletop.state import GRIPPER
from worlds.tabletop.world import TableTopVectorEnv

SIZE, FRAMES = 32, 8
SPREAD = 3.0
"""Units from the table's middle, of the middle of a path, at most on each axis."""
SPEEDS = 0.2, 0.7
"""Share of the gripper's full speed, smallest and largest."""
OBLIQUE = 0.25
"""Share of the clips that move in any direction; the others move left, right, up or down."""
ALONE = Rules(objects=1, unseen=frozenset())
CORNER = (0.0, 0.0)
LOOK = {"texture": 1.0, "lighting": (1.0, 0.0, 0.0), "camera": (0.0, 0.0)}
"""The one look of the table: with eight, V-JEPA's features tell the table instead of the motion."""


class Clips(NamedTuple):
    """Clips (N, f, H, W, 3) bytes; velocities (N, 2) in units per step; motion and appearance classes (N,), -1 for none."""

    shown: Tensor
    velocity: Tensor
    motion: Tensor
    appearance: Tensor


def collected(count: int, seed: int) -> Clips:
    """Return clips on one table, with objects of four shapes and six colours."""
    rng, rows = np.random.default_rng(seed), 200
    env = TableTopVectorEnv(num_envs=rows, kind="carry", size=2 * SIZE, objects=1)
    parts = [_part(env, rng) for _ in range(-(-count // rows))]
    shown, truth = (np.concatenate([part[number] for part in parts])[:count] for number in range(2))
    labels = labels_of(truth)
    velocity = (truth[:, -1, GRIPPER] - truth[:, 0, GRIPPER]) / (FRAMES - 1)
    return Clips(torch.from_numpy(shown), torch.from_numpy(velocity).float(), torch.from_numpy(labels.motion),
                 torch.from_numpy(labels.appearance))


def _part(env: TableTopVectorEnv, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return clips and their true states (rows, f, S)."""
    rows = env.num_envs
    angle = np.where(rng.random(rows) < OBLIQUE, rng.uniform(0, 2 * np.pi, rows),
                     np.pi / 2 * rng.integers(len(DIRECTIONS), size=rows))
    heading = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    velocity = heading * rng.uniform(*SPEEDS, rows)[:, None]
    start = TABLE / 2 + rng.uniform(-SPREAD, SPREAD, (rows, 2)) - velocity * SPEED * (FRAMES - 1) / 2
    drawn = [sample_episode(one_stream(rng), "carry", ALONE) for _ in range(rows)]
    options = {name: np.array([one[name] for one in drawn], float) for name in drawn[0]}
    options["gripper"], options["places"][:, 0] = start, start
    options["shapes"][:, 1:] = -1.0  # no clutter
    options["plate"][:] = options["goal"][:] = CORNER
    for name, value in LOOK.items():
        options[name][:] = value
    seen, _ = env.reset(seed=0, options=options)
    action = np.concatenate([velocity, np.zeros((rows, 1))], axis=1).astype(np.float32)
    frames, truth = [seen["observation"]], [seen["state"]]
    for _ in range(FRAMES - 1):
        seen, *_ = env.step(action)
        frames.append(seen["observation"])
        truth.append(seen["state"])
    inner = slice(SIZE // 2, -(SIZE // 2))
    states = np.stack(truth, axis=1)
    return np.stack(frames, axis=1)[:, :, inner, inner], states[..., :states.shape[-1] // 2]  # the second half is the goal
