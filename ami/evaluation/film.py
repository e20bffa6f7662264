"""Film: a few episodes as an animated GIF, with the path walked and the plan imagined drawn over the world."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ami.agent import Agent, Moment
from ami.blueprint import Episode
from ami.evaluation.frame import Shot, draw
from ami.files import write_atomically

Readout = Callable[[Tensor], Tensor]
"""States (…, *S) to the true state (…, X), whose first two entries are x and y."""
WATCH = ("world.observation", "world.goal", "world.truth", "planner.imagined", "planner.energy", "configurator.mode")
"""What the agent should be built to show; what its graph has not is left out of the picture."""
HOLD_SECONDS = 1.2  # the last picture of an episode stays, so that its end can be read
COLOURS = 128


def film(agent: Agent, episodes: Sequence[Episode], path: Path, readout: Readout | None = None, fps: int = 10,
         kinds: Sequence[str] | None = None, extent: float = 32.0) -> bool:
    """Live the episodes side by side and write them one after another into an animated GIF, whole or not at all.

    Args:
        agent: watches as much of `WATCH` as its graph has.
        episodes: a few.
        path: the GIF.
        readout: turns imagined states into places; None draws no plan.
        fps: pictures per second; one picture is one tick.
        kinds: what to call each episode, e.g. the kinds of its pair.
        extent: the side of the square that an observation shows, in units of the true state.

    Returns:
        Whether there was something to film: a world that shows no pictures, (H, W, 3) bytes, has no film.
    """
    shots: list[list[Shot]] = [[] for _ in episodes]
    for tick, moment in enumerate(agent.live(episodes)):
        if not _shows_pictures(moment):
            return False
        for row, (episode, seen) in enumerate(zip(episodes, shots, strict=True)):
            if not (seen and seen[-1].over):
                title = f"pair {episode.number}" + (f", {kinds[row].replace('_', ' ')}" if kinds else "")
                seen.append(_shot(moment, row, tick, title, episode, readout))
    frames: list[Image.Image] = []
    durations: list[int] = []
    for seen in shots:
        frames += [draw(seen[: now + 1], extent) for now in range(len(seen))]
        durations += [1000 // fps] * (len(seen) - 1) + [int(1000 * HOLD_SECONDS)]
    write_atomically(path, _gif(frames, durations))
    return True


def _shows_pictures(moment: Moment) -> bool:
    picture = moment.get("world.observation")
    return picture is not None and picture.dtype == torch.uint8 and picture.ndim == 4 and picture.shape[-1] == 3


def _shot(moment: Moment, row: int, tick: int, title: str, episode: Episode, readout: Readout | None) -> Shot:
    plan: list[tuple[float, float]] = []
    if readout is not None and "planner.imagined" in moment:
        plan = _places(readout(moment["planner.imagined"][row]))
    goal = moment.get("world.goal")
    end = episode.options.get("goal")
    return Shot(
        title, tick, moment["world.observation"][row].numpy(),
        goal=goal[row].numpy() if goal is not None and goal.ndim == 4 else None,
        place=_places(moment["world.truth"][row][None])[0] if "world.truth" in moment else None,
        wanted=(float(end[0]), float(end[1])) if end is not None and len(end) == 2 else None,
        plan=plan,
        energy=float(moment["planner.energy"][row]) if "planner.energy" in moment else None,
        mode=int(moment["configurator.mode"][row]) if "configurator.mode" in moment else None,
        over=bool(moment["world.terminated"][row] | moment["world.truncated"][row]),
        success=bool(moment["world.success"][row]))


def _places(truth: Tensor) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in truth[:, :2].tolist()]


def _gif(frames: Sequence[Image.Image], durations: Sequence[int]) -> bytes:
    """All frames share one palette, so that nothing flickers."""
    some = frames[:: max(1, len(frames) // 8)]
    sheet = Image.new("RGB", (frames[0].width, frames[0].height * len(some)))
    for place, frame in enumerate(some):
        sheet.paste(frame, (0, place * frame.height))
    palette = sheet.quantize(COLOURS, dither=Image.Dither.NONE)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    written = io.BytesIO()
    flat[0].save(written, "GIF", save_all=True, append_images=flat[1:], duration=list(durations), loop=0)
    return written.getvalue()
