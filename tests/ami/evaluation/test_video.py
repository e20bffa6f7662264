from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ami.agent import Agent
from ami.blueprint import Episode
from ami.envs.overlay import Overlay
from ami.evaluation.pictures import coloured, is_picture
from ami.evaluation.video import HOLD_SECONDS, record_video, video_ports, write_gif, write_mp4
from ami.evaluation.video_frame import MARGIN, PATH, PLAN, TITLE_HEIGHT, WANTED
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime

EPISODES = [Episode(0, 1, {"start": [6.0, 10.0], "goal": [12.0, 10.0], "door": 10.0}),
            Episode(1, 2, {"start": [6.0, 20.0], "goal": [13.0, 20.0], "door": 10.0})]


TWO_ROOMS = Overlay((0, 1), (0, 0), (32, 32), 2)


def made_video(graph: Graph, path: Path, watch: tuple[str, ...] | None = None, overlay: Overlay | None = TWO_ROOMS,
           **settings: object) -> bool:
    watch = tuple(video_ports(graph).values()) if watch is None else watch
    with Agent(LocalRuntime(graph, 0, watch=watch)) as agent:
        shown = record_video(agent, EPISODES, overlay=overlay, **settings)
    if shown is not None:
        write_gif(shown, path)
    return shown is not None


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}


def is_there(wanted: tuple[int, int, int], picture: Image.Image, tolerance: int = 12) -> bool:
    return any(max(abs(a - b) for a, b in zip(wanted, colour, strict=True)) <= tolerance for colour in colours(picture))


def test_video_shows_every_tick_of_every_episode(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    path = tmp_path / "a" / "episodes.gif"
    assert made_video(tiny_agent(), path, readout=lambda states: states, fps=10)
    with Image.open(path) as gif:
        durations = []
        for number in range(gif.n_frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
        first_picture = gif.seek(0) or gif.convert("RGB")
    ends = [number for number, lasts in enumerate(durations) if lasts == 1000 * HOLD_SECONDS]
    assert len(ends) == len(EPISODES) and ends[-1] == len(durations) - 1
    assert set(durations) == {100, 1000 * HOLD_SECONDS}
    assert is_there(PLAN, first_picture) and is_there(WANTED, first_picture)
    assert list(path.parent.iterdir()) == [path]


def test_without_a_readout_or_a_planner_no_plan_is_drawn(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    assert made_video(tiny_agent(), tmp_path / "f.gif", watch=("world.observation", "world.goal", "world.truth"))
    with Image.open(tmp_path / "f.gif") as gif:
        world = gif.convert("RGB").crop((MARGIN, TITLE_HEIGHT, 400, 400))
    assert not is_there(PLAN, world) and is_there(WANTED, world)


@pytest.mark.parametrize("mode", [1, 2])
def test_an_idle_planner_has_no_plan(tiny_agent: Callable[..., Graph], mode: int) -> None:
    graph = tiny_agent(max_episode_steps=2)
    runtime = LocalRuntime(graph, 0, watch=tuple(video_ports(graph).values()))
    configurator = runtime.worker.modules["configurator"]
    configurator.step = lambda energy, surprise: {"mode": torch.full((2,), mode), "weights": torch.ones(2, 1)}
    with Agent(runtime) as agent:
        shown = record_video(agent, EPISODES, overlay=TWO_ROOMS, readout=lambda states: states)
    assert shown is not None
    world = shown.frames[0].crop((MARGIN, TITLE_HEIGHT, MARGIN + 384, TITLE_HEIGHT + 384))
    assert is_there(PLAN, world) == (mode == 2)


@pytest.mark.parametrize("size", [16, 64])
def test_video_of_other_image_sizes(tiny_agent: Callable[..., Graph], tmp_path: Path, size: int) -> None:
    assert made_video(tiny_agent(size=size, max_episode_steps=2), tmp_path / "f.gif")
    with Image.open(tmp_path / "f.gif") as gif:
        assert gif.size == (384 + 160 + 3 * MARGIN, 384 + TITLE_HEIGHT + MARGIN)


def test_world_without_images_has_no_video(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    assert not made_video(tiny_agent(observe="state"), tmp_path / "f.gif")
    assert not made_video(tiny_agent(), tmp_path / "f.gif", watch=())
    assert list(tmp_path.iterdir()) == []


def test_world_without_overlay_has_no_paths(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    assert made_video(tiny_agent(), tmp_path / "f.gif", overlay=None, readout=lambda states: states)
    with Image.open(tmp_path / "f.gif") as gif:
        for number in range(gif.n_frames):
            gif.seek(number)
            world = gif.convert("RGB").crop((MARGIN, TITLE_HEIGHT, MARGIN + 384, TITLE_HEIGHT + 384))
            assert not is_there(PLAN, world) and not is_there(WANTED, world) and not is_there(PATH, world)


def test_world_without_images_uses_its_renderer(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    grey = [np.full((20, 30, 1), 90 * row + 60, np.uint8) for row in range(len(EPISODES))]
    assert made_video(tiny_agent(observe="state"), tmp_path / "f.gif", render=lambda: grey, readout=lambda states: states)
    with Image.open(tmp_path / "f.gif") as gif:
        first = gif.convert("RGB")
    assert is_there((60, 60, 60), first) and is_there(PLAN, first) and is_there(WANTED, first)


def test_mp4_has_the_same_frames(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    video = pytest.importorskip("imageio_ffmpeg")
    graph = tiny_agent(max_episode_steps=2, size=17)
    with Agent(LocalRuntime(graph, 0, watch=tuple(video_ports(graph).values()))) as agent:
        shown = record_video(agent, EPISODES, overlay=TWO_ROOMS)
    write_mp4(shown, tmp_path / "a" / "f.mp4")
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "f.mp4"]
    frames, seconds = video.count_frames_and_secs(str(tmp_path / "a" / "f.mp4"))
    assert frames == sum(shown.holds) and seconds == pytest.approx(frames / shown.fps, abs=0.2)


def test_is_picture() -> None:
    for shape in ((8, 9), (8, 9, 1), (8, 9, 3), (8, 9, 4)):
        assert is_picture(torch.uint8, shape) and coloured(np.zeros(shape, np.uint8)).shape == (8, 9, 3)
    for shape in ((8,), (3, 8, 9), (8, 9, 2), (4, 8, 9, 3)):
        assert not is_picture(torch.uint8, shape)
    assert not is_picture(torch.float32, (8, 9, 3))
