"""Files of episodes in every format, each with the same three episodes: observations 10 e + t, actions, rewards, ends."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = (3, 1, 4)
"""The number of steps of each episode; the last one is truncated, the others terminate."""


def arrays(number: int, steps: int) -> dict[str, Any]:
    observed = 10 * number + np.arange(steps + 1, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    ended = np.zeros(steps, bool)
    ended[-1] = number < 2
    cut = np.zeros(steps, bool)
    cut[-1] = number == 2
    return {"observations": observed, "actions": (np.arange(steps) % 3).astype(np.int64),
            "rewards": np.arange(1, steps + 1, dtype=np.float64), "terminations": ended, "truncations": cut}


def episodes() -> list[dict[str, Any]]:
    return [arrays(number, steps) for number, steps in enumerate(LENGTHS)]


def npz_folder(folder: Path) -> Path:
    folder.mkdir()
    for number, one in enumerate(episodes()):
        np.savez(folder / f"{number}.npz", **one)
    return folder


def npz_padded(folder: Path) -> Path:
    most = max(LENGTHS)
    padded = {name: np.stack([np.concatenate([one[name], np.full((most + (name == "observations") - len(one[name]),
                                                                  *one[name].shape[1:]), 77, one[name].dtype)])
                              for one in episodes()]) for name in arrays(0, 1)}
    file = folder / "padded.npz"
    np.savez(file, **padded, steps=np.array(LENGTHS))
    return file


def npz_flat(folder: Path) -> Path:
    file = folder / "flat.npz"
    np.savez_compressed(file, **{name: np.concatenate([one[name] for one in episodes()]) for name in arrays(0, 1)},
                        steps=np.array(LENGTHS))
    return file


def npz_of_fields(folder: Path) -> Path:
    folder = folder / "fields"
    folder.mkdir()
    for name in ("observations", "actions", "rewards", "terminations"):
        np.savez(folder / f"{name}.npz", np.concatenate([one[name] for one in episodes()]))
    np.savez(folder / "steps.npz", steps=np.array(LENGTHS))
    return folder


def hdf5_groups(folder: Path) -> Path:
    import h5py

    file = folder / "groups.hdf5"
    with h5py.File(file, "w") as opened:
        for number, one in enumerate(episodes()):
            for name, value in one.items():
                opened[f"data/episode_{number}/{'obs/vector' if name == 'observations' else name}"] = value
    return file


def hdf5_d4rl(folder: Path) -> Path:
    import h5py

    file = folder / "d4rl.h5"
    with h5py.File(file, "w") as opened:
        for name, own in {"observations": "observations", "actions": "actions", "rewards": "rewards",
                          "terminations": "terminals", "truncations": "timeouts"}.items():
            opened[own] = np.concatenate([one[name][:len(one["actions"])] for one in episodes()])
        opened["next_observations"] = np.concatenate([one["observations"][1:] for one in episodes()])
    return file


def minari_set(folder: Path, key: str | None = None) -> Path:
    import gymnasium
    import minari
    import pytest
    from minari.data_collector.episode_buffer import EpisodeBuffer

    box = gymnasium.spaces.Box(-100, 100, (2,), np.float32)
    space = box if key is None else gymnasium.spaces.Dict({"goal": box, key: box})
    buffers = []
    for number, one in enumerate(episodes()):
        seen = one["observations"]
        buffers.append(EpisodeBuffer(id=number, observations=seen if key is None else {"goal": seen * 0, key: seen},
                                     actions=one["actions"], rewards=list(one["rewards"]),
                                     terminations=list(one["terminations"]), truncations=list(one["truncations"]), infos={}))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # minari's advice
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        minari.create_dataset_from_buffers("test/three-v0", buffers, action_space=gymnasium.spaces.Discrete(3),
                                           observation_space=space, algorithm_name="none", author="none",
                                           author_email="none", code_permalink="none", description="none")
    return folder / "test" / "three-v0"


def lerobot(folder: Path, version: int, is_video: bool = False) -> Path:
    import json

    import pyarrow as pa
    import pyarrow.parquet as parquet

    folder = folder / f"lerobot{version}{is_video}"
    (folder / "meta").mkdir(parents=True)
    seen = "observation.image" if is_video else "observation.state"
    (folder / "meta" / "info.json").write_text(json.dumps({"codebase_version": f"v{version}.0", "features": {
        seen: {"dtype": "video" if is_video else "float32", "shape": [2]}, "action": {"dtype": "int64", "shape": [1]},
        "next.reward": {"dtype": "float32"}, "next.done": {"dtype": "bool"}, "timestamp": {"dtype": "float32"}}}))
    tables = []
    for number, one in enumerate(episodes()):
        steps = len(one["actions"])
        columns = {"action": one["actions"], "next.reward": one["rewards"].astype(np.float32),
                   "next.done": one["terminations"], "episode_index": np.full(steps, number)}
        if not is_video:
            columns[seen] = list(one["observations"][:steps])
        tables.append(pa.table({name: list(value) for name, value in columns.items()}))
    if version == 2:
        for number, table in enumerate(tables):
            file = folder / "data" / "chunk-000" / f"episode_{number:06}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(table, file)
    else:
        file = folder / "data" / "chunk-000" / "file-000.parquet"
        file.parent.mkdir(parents=True)
        parquet.write_table(pa.concat_tables(tables), file)
        index = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
        index.parent.mkdir(parents=True)
        parquet.write_table(pa.table({"episode_index": [0, 1, 2], f"videos/{seen}/chunk_index": [0] * 3,
                                      f"videos/{seen}/file_index": [0] * 3}), index)
    if is_video:
        if version == 2:
            for number, steps in enumerate(LENGTHS):
                video(folder / "videos" / "chunk-000" / seen / f"episode_{number:06}.mp4", [number] * steps)
        else:
            video(folder / "videos" / seen / "chunk-000" / "file-000.mp4",
                  [number for number, steps in enumerate(LENGTHS) for _ in range(steps)])
    return folder


def video(file: Path, levels: list[int]) -> Path:
    """Write a video with a frame of 64 px per level, grey 60 · level."""
    import av

    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 64, "yuv420p", 4_000_000
        for level in levels:
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 60 * level, np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return file


def pictures(folder: Path, with_steps: bool = True) -> Path:
    from PIL import Image

    for number, one in enumerate(episodes()):
        inner = folder / f"episode_{number}"
        inner.mkdir(parents=True)
        for step in range(LENGTHS[number] + 1):
            Image.fromarray(np.full((16, 20, 3), 10 * number + step, np.uint8)).save(inner / f"{step}.png")
        if with_steps:
            np.savez(inner / "steps.npz", **{name: value for name, value in one.items() if name != "observations"})
    return folder
