"""Video: a few episodes as an animated GIF or an MP4, with the agent's path and imagined plan drawn over the world."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Configurator, Episode, Planner, World
from ami.envs.overlay import Overlay
from ami.evaluation.pictures import coloured, is_picture
from ami.evaluation.video_frame import PAPER, Frame, draw
from ami.graph.graph import Graph
from ami.rollout import Step, rollout
from ami.storage.files import write_atomically

Readout = Callable[[Tensor], Tensor]
"""Map from states (…, *S) to the true state (…, X)."""
HOLD_SECONDS = 1.2  # the last frame of an episode is held, so that its end is readable
COLOURS = 128
REACTS = 1
"""Mode-1."""
Render = Callable[[], Sequence[np.ndarray]]


class Video(NamedTuple):
    """The frames of a video.

    Attributes:
        frames: all of one size, an even number of pixels wide and high.
        holds: the duration of each frame, in 1 / `fps` seconds.
        fps: frames per second.
    """

    frames: Sequence[Image.Image]
    holds: Sequence[int]
    fps: int


def video_ports(graph: Graph) -> dict[str, str]:
    """Return the ports to watch, by what they show; those that the graph lacks are left out of the video.

    Of several planners, the last one in firing order is shown: the actor follows it.
    """
    (*_, planner), (mode, *_) = ("", *graph.nodes_of(Planner)), (*graph.nodes_of(Configurator), "")
    world = graph.the(World)
    ports = {"observation": world, "goal": world, "truth": world, "imagined": planner, "energy": planner, "mode": mode}
    return {port: f"{node}.{port}" for port, node in ports.items() if port in graph.outputs.get(node, ())}


def record_video(agent: Agent, episodes: Sequence[Episode], readout: Readout | None = None, fps: int = 10,
                 kinds: Sequence[str] | None = None, overlay: Overlay | None = None,
                 render: Render | None = None) -> Video | None:
    """Run the episodes in parallel and draw them one after another; one frame is one tick.

    Args:
        agent: an agent that watches the ports of `video_ports`.
        episodes: the episodes, a few.
        readout: maps imagined states to true states; None draws no plan.
        fps: ticks per second.
        kinds: a title for each episode, e.g. the kind of its pair.
        overlay: position of the true state in an image; None draws no path, plan or goal.
        render: the world's renderer, one (H, W, 3) per row, for a world whose observations are no images of it.

    Returns:
        The video; None for a world without image observations and without a renderer.
    """
    shots: list[list[Frame]] = [[] for _ in episodes]
    ports = video_ports(agent.graph)
    for tick, step in enumerate(rollout(agent, episodes)):
        shown = {name: step.outputs[port] for name, port in ports.items() if port in step.outputs}
        pictures = (_pictures(shown.get("observation")) if render is None
                    else [coloured(np.asarray(one)) for one in render()])
        if pictures is None:
            return None
        for row, (episode, past) in enumerate(zip(episodes, shots, strict=True)):
            if bool(step.alive[row]):
                title = f"pair {episode.number}" + (f", {kinds[row].replace('_', ' ')}" if kinds else "")
                past.append(_frame(shown, step, row, tick, title, episode, pictures[row], readout, overlay))
    drawn = _of_one_size([[draw(past[: now + 1]) for now in range(len(past))] for past in shots])
    holds = [hold for frames in drawn for hold in [*[1] * (len(frames) - 1), round(HOLD_SECONDS * fps)]]
    return Video([frame for frames in drawn for frame in frames], holds, fps)


def write_gif(shown: Video, path: Path) -> None:
    """Write an animated GIF, atomically. All frames share one palette, against flicker."""
    frames = shown.frames
    some = frames[:: max(1, len(frames) // 8)]
    sheet = Image.new("RGB", (frames[0].width, frames[0].height * len(some)))
    for place, frame in enumerate(some):
        sheet.paste(frame, (0, place * frame.height))
    palette = sheet.quantize(COLOURS, dither=Image.Dither.NONE)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    written = io.BytesIO()
    flat[0].save(written, "GIF", save_all=True, append_images=flat[1:], loop=0,
                 duration=[1000 * hold // shown.fps for hold in shown.holds])
    write_atomically(path, written.getvalue())


def can_write_mp4() -> bool:
    """Return whether the package that brings ffmpeg is installed."""
    return find_spec("imageio_ffmpeg") is not None


def write_mp4(shown: Video, path: Path) -> None:
    """Write an MP4 (H.264), atomically.

    Raises:
        ImportError: imageio-ffmpeg is not installed.
        OSError, RuntimeError: ffmpeg cannot be started or cannot write.
    """
    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp.mp4")
    try:
        writer = imageio_ffmpeg.write_frames(str(draft), shown.frames[0].size, fps=shown.fps, codec="libx264",
                                             macro_block_size=2, ffmpeg_log_level="error")
        writer.send(None)
        for frame, hold in zip(shown.frames, shown.holds, strict=True):
            for _ in range(hold):
                writer.send(frame.tobytes())
        writer.close()
        write_atomically(path, draft.read_bytes())
    finally:
        draft.unlink(missing_ok=True)


def _pictures(shown: Tensor | None) -> list[np.ndarray] | None:
    """Return observations or goals (B, …) as (H, W, 3) bytes each; None if they are no images."""
    if shown is None or not is_picture(shown.dtype, shown.shape[1:]):
        return None
    return [coloured(one) for one in shown.numpy()]


def _frame(shown: Mapping[str, Tensor], step: Step, row: int, tick: int, title: str, episode: Episode,
           picture: np.ndarray, readout: Readout | None, overlay: Overlay | None) -> Frame:
    goal = shown.get("goal")
    pictures = _pictures(goal)
    truth = _truth(shown, overlay)
    mode = int(shown["mode"][row]) if "mode" in shown else None
    places: dict[str, Any] = {}
    if overlay is not None:
        wanted = overlay.goal(episode.options.get("goal"), None if goal is None else goal[row].numpy())
        if truth is not None:
            places["place"] = _pair(overlay.places(truth[row]))
        if readout is not None and "imagined" in shown and mode != REACTS:  # an idle planner sends the present state
            imagined = readout(shown["imagined"][row]).numpy()
            places["plan"] = [_pair(place) for place in overlay.places(imagined)] if overlay.fits(imagined.shape[-1]) else ()
        if wanted is not None:
            places |= {"wanted": _pair(overlay.shares(np.asarray(wanted))), "goal_radii": overlay.goal_radii()}
    return Frame(
        title, tick, picture, goal=pictures[row] if pictures is not None else None, **places,
        energy=float(shown["energy"][row]) if "energy" in shown else None,
        mode=mode,
        over=bool(step.ended[row]),
        success=bool(step.world["success"][row]))


def _truth(shown: Mapping[str, Tensor], overlay: Overlay | None) -> np.ndarray | None:
    """Return the true states (B, X); vector observations if the world reports no true state."""
    for port in ("truth", "observation"):
        sent = shown.get(port)
        if overlay is not None and sent is not None and sent.ndim == 2 and overlay.fits(sent.shape[1]):
            return np.asarray(sent.numpy(), float)
    return None


def _pair(place: np.ndarray) -> tuple[float, float]:
    return float(place[0]), float(place[1])


def _of_one_size(episodes: Sequence[Sequence[Image.Image]]) -> list[list[Image.Image]]:
    """Pad all frames to one even size: a renderer may change its size between episodes, and MP4 needs even sizes."""
    width, height = (max(getattr(frame, side) for frames in episodes for frame in frames) for side in ("width", "height"))
    sheets: list[list[Image.Image]] = []
    for frames in episodes:
        sheets.append([])
        for frame in frames:
            sheet = Image.new("RGB", (width + width % 2, height + height % 2), PAPER)
            sheet.paste(frame)
            sheets[-1].append(sheet)
    return sheets
