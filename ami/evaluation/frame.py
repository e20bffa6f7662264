"""One picture of a film: the world as the agent sees it, where it has been, what it imagines, and what it wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Place = tuple[float, float]

WORLD_SIDE = 384  # pixels at most, of the enlarged world
GOAL_SIDE = 160
MARGIN = 20
TITLE_HEIGHT = 44
SMOOTH = 2  # lines are drawn this much larger and shrunk, which smooths their edges
PAPER, INK, FAINT = (250, 250, 247), (38, 44, 58), (140, 146, 158)
PATH, PLAN, WANTED = (110, 116, 130), (0, 128, 200), (30, 150, 84)
SPARK_HEIGHT = 56
MODES = {1: "mode 1: reacts", 2: "mode 2: plans"}


@dataclass(frozen=True)
class Shot:
    """What one tick of one episode showed.

    Attributes:
        title: names the episode.
        tick: since its beginning.
        picture: (H, W, 3) bytes.
        goal: the goal's picture, (H, W, 3) bytes.
        place: where the agent is, in units of the true state.
        wanted: where the goal is.
        plan: the places the imagined plan leads through.
        energy: of the plan.
        mode: 1 reacts, 2 plans.
        over: whether the episode has ended.
        success: whether the goal has been reached.
    """

    title: str
    tick: int
    picture: np.ndarray
    goal: np.ndarray | None = None
    place: Place | None = None
    wanted: Place | None = None
    plan: Sequence[Place] = ()
    energy: float | None = None
    mode: int | None = None
    over: bool = False
    success: bool = False


def draw(shots: Sequence[Shot], extent: float) -> Image.Image:
    """Draw the last of the shots; the ones before it are its past.

    Args:
        shots: one episode's, from its first tick to now.
        extent: the side of the square that a picture shows, in units of the true state.
    """
    now = shots[-1]
    world = _enlarged(now.picture, WORLD_SIDE)
    world = _with_lines(world, shots, world.width / extent)
    frame = Image.new("RGB", (world.width + GOAL_SIDE + 3 * MARGIN, world.height + TITLE_HEIGHT + MARGIN), PAPER)
    pen = ImageDraw.Draw(frame)
    pen.text((MARGIN, 12), now.title, INK, _font(20))
    pen.text((MARGIN + world.width, 15), _ending(now), WANTED if now.success else FAINT, _font(16), anchor="ra")
    frame.paste(world, (MARGIN, TITLE_HEIGHT))
    _draw_panel(frame, pen, shots, MARGIN * 2 + world.width, TITLE_HEIGHT)
    return frame


def _draw_panel(frame: Image.Image, pen: ImageDraw.ImageDraw, shots: Sequence[Shot], left: int, top: int) -> None:
    now = shots[-1]
    if now.goal is not None:
        goal = _enlarged(now.goal, GOAL_SIDE)
        pen.text((left, 15), "what it wants", FAINT, _font(16))
        frame.paste(goal, (left, top))
        top += goal.height + MARGIN
    if now.mode is not None:
        pen.text((left, top), MODES.get(now.mode, f"mode {now.mode}"), INK, _font(16))
        top += 26
    if now.energy is not None:
        pen.text((left, top), "energy of its plan", FAINT, _font(16))
        pen.text((left + GOAL_SIDE, top), f"{now.energy:.3g}", INK, _font(16), anchor="ra")
        _draw_spark(frame, [shot.energy for shot in shots if shot.energy is not None], left, top + 28)
    pen.line([(left, frame.height - MARGIN - 50), (left + 22, frame.height - MARGIN - 50)], PATH, 3)
    pen.text((left + 32, frame.height - MARGIN - 60), "walked", FAINT, _font(16))
    if any(shot.plan for shot in shots):
        pen.line([(left, frame.height - MARGIN - 26), (left + 22, frame.height - MARGIN - 26)], PLAN, 3)
        pen.text((left + 32, frame.height - MARGIN - 36), "imagined", FAINT, _font(16))
    if now.wanted is not None:
        pen.ellipse([(left + 5, frame.height - MARGIN - 9), (left + 17, frame.height - MARGIN + 3)], None, WANTED, 2)
        pen.text((left + 32, frame.height - MARGIN - 12), "goal", FAINT, _font(16))


def _with_lines(world: Image.Image, shots: Sequence[Shot], scale: float) -> Image.Image:
    """The world with path, plan and goal over it; `scale` is pixels per unit of the true state."""
    now = shots[-1]
    layer = Image.new("RGBA", (world.width * SMOOTH, world.height * SMOOTH), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    unit = scale * SMOOTH

    def point(place: Place) -> Place:
        return place[0] * unit, place[1] * unit

    def disc(place: Place, radius: float, colour: tuple[int, ...]) -> None:
        x, y = point(place)
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], colour)

    if now.wanted is not None:
        x, y = point(now.wanted)
        pen.ellipse([x - 2 * unit, y - 2 * unit, x + 2 * unit, y + 2 * unit], None, (*WANTED, 255), 3 * SMOOTH)
    past = [shot.place for shot in shots if shot.place is not None]
    if len(past) > 1:
        pen.line([point(place) for place in past], (*PATH, 200), 3 * SMOOTH, joint="curve")
        for place in past[:-1]:
            disc(place, 3.2 * SMOOTH, (*PATH, 255))
    if now.plan and not now.over:
        steps = [*past[-1:], *now.plan]
        for number, (start, end) in enumerate(pairwise(steps)):
            fading = int(255 - 120 * number / len(steps))
            pen.line([point(start), point(end)], (*PLAN, fading), 4 * SMOOTH)
            disc(end, 5 * SMOOTH, (*PLAN, fading))
    return Image.alpha_composite(world.convert("RGBA"), layer.resize(world.size, Image.Resampling.BOX)).convert("RGB")


def _draw_spark(frame: Image.Image, values: Sequence[float], left: int, top: int) -> None:
    """A small curve of values, the last one marked."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    width = GOAL_SIDE - 6
    across = width / max(len(values) - 1, 1)
    points = [(left + 3 + i * across, top + SPARK_HEIGHT * (high - value) / span) for i, value in enumerate(values)]
    pen = ImageDraw.Draw(frame)
    if len(points) > 1:
        pen.line(points, PLAN, 2, joint="curve")
    x, y = points[-1]
    pen.ellipse([x - 3, y - 3, x + 3, y + 3], PLAN)


def _enlarged(picture: np.ndarray, side: int) -> Image.Image:
    factor = max(1, side // max(picture.shape[:2]))
    height, width = picture.shape[0] * factor, picture.shape[1] * factor
    return Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)


def _ending(now: Shot) -> str:
    if now.success:
        return f"reached in {now.tick} steps"
    return f"not reached in {now.tick} steps" if now.over else f"tick {now.tick}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
