"""One frame of a video: the world as observed, the agent's path, its imagined plan and its goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Place = tuple[float, float]

WORLD_SIDE = 384  # pixels at most, of the enlarged world
LEAST_WIDTH = 280  # of a frame's title
GOAL_SIDE = 160
LINE = 26  # pixels, of a line of text in the panel
MARGIN = 20
TITLE_HEIGHT = 44
SMOOTH = 2  # lines are drawn this much larger and shrunk, which smooths their edges
PAPER, INK, FAINT = (250, 250, 247), (38, 44, 58), (140, 146, 158)
PATH, PLAN, WANTED = (110, 116, 130), (0, 128, 200), (30, 150, 84)
SPARK_HEIGHT = 56
MODES = {1: "mode 1: reacts", 2: "mode 2: plans"}


@dataclass(frozen=True)
class Frame:
    """The content of a frame: one tick of one episode.

    Attributes:
        title: name of the episode.
        tick: ticks since its beginning.
        picture: the world's image, (H, W, 3) bytes.
        goal: the goal's image, (H, W, 3) bytes.
        place: the agent's position, in shares of the image's width and height from the top left; None if unknown.
        wanted: the goal's position, likewise.
        goal_radii: the goal's radii, in shares of the image's width and height.
        plan: the positions of the imagined plan.
        energy: the plan's energy.
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
    goal_radii: Place | None = None
    plan: Sequence[Place] = ()
    energy: float | None = None
    mode: int | None = None
    over: bool = False
    success: bool = False


def draw(shots: Sequence[Frame]) -> Image.Image:
    """Draw the last frame; the earlier ones give its path.

    Args:
        shots: the frames of one episode, from its first tick to now.
    """
    now = shots[-1]
    world = _with_lines(_scaled(now.picture, WORLD_SIDE), shots)
    width, height = max(world.width, LEAST_WIDTH), max(world.height, _panel_height(shots))
    frame = Image.new("RGB", (width + GOAL_SIDE + 3 * MARGIN, height + TITLE_HEIGHT + MARGIN), PAPER)
    pen = ImageDraw.Draw(frame)
    pen.text((MARGIN, 12), now.title, INK, _font(20))
    pen.text((MARGIN + width, 15), _ending(now), WANTED if now.success else FAINT, _font(16), anchor="ra")
    frame.paste(world, (MARGIN, TITLE_HEIGHT))
    _draw_panel(frame, pen, shots, MARGIN * 2 + width, TITLE_HEIGHT)
    return frame


def _panel_height(shots: Sequence[Frame]) -> int:
    """Return the height of the panel next to the world, equal for every frame of an episode."""
    first = shots[0]
    goal = 0 if first.goal is None else _scaled(first.goal, GOAL_SIDE).height + MARGIN
    mode = 0 if first.mode is None else LINE
    energy = 0 if first.energy is None else LINE + SPARK_HEIGHT + MARGIN
    return goal + mode + energy + LINE * len(_legend(first))


def _draw_panel(frame: Image.Image, pen: ImageDraw.ImageDraw, shots: Sequence[Frame], left: int, top: int) -> None:
    now = shots[-1]
    if now.goal is not None:
        goal = _scaled(now.goal, GOAL_SIDE)
        pen.text((left, 15), "goal", FAINT, _font(16))
        frame.paste(goal, (left, top))
        top += goal.height + MARGIN
    if now.mode is not None:
        pen.text((left, top), MODES.get(now.mode, f"mode {now.mode}"), INK, _font(16))
        top += LINE
    if now.energy is not None:
        pen.text((left, top), "energy of its plan", FAINT, _font(16))
        pen.text((left + GOAL_SIDE, top), f"{now.energy:.3g}", INK, _font(16), anchor="ra")
        _draw_spark(frame, [shot.energy for shot in shots if shot.energy is not None], left, top + LINE + 2)
    legend = _legend(shots[0])
    for number, (name, colour) in enumerate(legend):
        middle = frame.height - MARGIN - LINE * (len(legend) - number) + LINE // 2
        if colour == WANTED:
            pen.ellipse([(left + 5, middle - 6), (left + 17, middle + 6)], None, colour, 2)
        else:
            pen.line([(left, middle), (left + 22, middle)], colour, 4 if colour == PLAN else 3)
        pen.text((left + 32, middle), name, FAINT, _font(16), anchor="lm")


def _legend(first: Frame) -> list[tuple[str, tuple[int, int, int]]]:
    """Return the elements drawn over the world, according to the first tick."""
    drawn = (("walked", PATH, first.place), ("imagined", PLAN, first.plan), ("goal", WANTED, first.wanted))
    return [(name, colour) for name, colour, there in drawn if there]


def _with_lines(world: Image.Image, shots: Sequence[Frame]) -> Image.Image:
    """Draw path, plan and goal over the world."""
    now = shots[-1]
    layer = Image.new("RGBA", (world.width * SMOOTH, world.height * SMOOTH), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)

    def point(place: Place) -> Place:
        return place[0] * layer.width, place[1] * layer.height

    def disc(place: Place, radius: float, colour: tuple[int, ...]) -> None:
        x, y = point(place)
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], colour)

    if now.wanted is not None and now.goal_radii is not None:
        (x, y), (across, up) = point(now.wanted), point(now.goal_radii)
        pen.ellipse([x - across, y - up, x + across, y + up], None, (*WANTED, 255), 3 * SMOOTH)
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
    """Draw a small curve of values, the last one marked."""
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


def _scaled(picture: np.ndarray, side: int) -> Image.Image:
    """Scale an image to at most `side` pixels in width and height: enlarged by a whole factor, or shrunk."""
    height, width = picture.shape[:2]
    factor = side // max(height, width)
    image = Image.fromarray(np.ascontiguousarray(picture))
    if factor:
        return image.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    image.thumbnail((side, side))
    return image


def _ending(now: Frame) -> str:
    if now.success:
        return f"reached in {now.tick} steps"
    return f"not reached in {now.tick} steps" if now.over else f"tick {now.tick}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
