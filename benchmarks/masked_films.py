"""Films of encoders that learnt from pictures alone: what is masked, what is predicted there, and what it should have been.

Shapes: N clips of F frames; T tokens of a clip, or of a picture; H, W the sides of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from study import fitting, learn
from torch import Tensor
from torch.nn import functional as F

import ami
from ami.config.compose import to_graph
from ami.evaluation.video import Video
from ami.runtime.worker import Worker
from modules.perception._targets import PatchPixels
from worlds.tabletop.expert import Expert
from worlds.tabletop.world import TableTopVectorEnv

WORLD = ["world=tabletop", "perception.patch=6", "learning.collect.episodes=1000", "learning.collect.steps=12",
         "~learning.stages.model", "~learning.stages.critic"]
"""The table top instead of two rooms, and the encoder alone."""
STEPS = {"ijepa": 600, "mae": 600, "vjepa": 300}
"""Fewer for clips, whose steps take longer."""
PICTURES, CLIPS, FRAMES, SEED = 8, 3, 8, 90_000
PANEL, GAP, TITLE, FPS = 112, 8, 20, 4
PAPER, INK, HIDDEN = (250, 250, 247), (38, 44, 58), 60


def masks(name: str, given: Sequence[str], store: Path, seed: int) -> Video:
    """Train or load the encoder of `experiment=NAME` and draw its predictions on episodes that it has not seen."""
    overrides = [f"experiment={name}", *WORLD, f"learning.stages.pretrain.steps={STEPS[name]}", *given]
    weights = learn(overrides, seed, store).weights
    graph = to_graph(ami.compose([*overrides, f"seed={seed}", "runtime=local"]))
    perception: Any = Worker(graph, graph.order, seed).modules["perception"]
    perception.load_state_dict(fitting(graph, weights, seed)["perception"])
    clips = episodes(CLIPS if perception.is_clip else PICTURES)
    return drawn(perception.eval(), clips if perception.is_clip else clips[:, FRAMES // 2])


def episodes(number: int) -> np.ndarray:
    """Return pictures (N, F, H, W, 3) of the expert at work, in places as learning sees them."""
    env, expert = TableTopVectorEnv(number, kind="mixed"), Expert(speed=0.5)
    seen, _ = env.reset(seed=[SEED + row for row in range(number)])
    frames = [seen["observation"]]
    for _ in range(FRAMES - 1):
        frames.append(env.step(expert.action(seen["state"]).astype(np.float32))[0]["observation"])
        seen = env._observation()
    return np.stack(frames, axis=1)


@torch.inference_mode()
def drawn(perception: Any, pictures: np.ndarray) -> Video:
    """Return a film: of each picture (N, H, W, 3), or of each frame of clips (N, F, H, W, 3), a row of panels."""
    torch.manual_seed(SEED)
    given, grid, count = torch.as_tensor(pictures), perception.grid, len(pictures)
    keep, want = perception.objective.masks.sample(grid, count)[0]
    context = perception.context(given, keep)
    whole = F.layer_norm(perception.context(given, torch.arange(grid.size).expand(count, -1)), (perception.embedding,))
    patches = perception._examples(given)
    makes_pixels = isinstance(perception.objective.target, PatchPixels)
    truth = patches if makes_pixels else whole
    found, hidden = truth.clone(), torch.zeros(count, grid.size, dtype=torch.bool)
    rows = torch.arange(count)[:, None]
    for group in want.unbind(1):
        found[rows, group] = predicted = perception.predict_masked(context, keep, group)
        if makes_pixels:  # the model predicts patches of mean 0 and variance 1: their own mean and spread are given back
            own = patches[rows, group]
            found[rows, group] = predicted * own.std(-1, keepdim=True) + own.mean(-1, keepdim=True)
        hidden[rows, group] = True
    unseen = torch.ones(count, grid.size, dtype=torch.bool).scatter(1, keep, False)
    times, frames, holds = grid.times, [], []
    shown = pictures if perception.is_clip else pictures[:, None]
    span = shown.shape[1] // times
    colours = as_pixels(perception, patches) if makes_pixels else Principal(whole)
    for one in range(count):
        for frame in range(shown.shape[1]):
            part = slice(frame // span * grid.rows * grid.columns, (frame // span + 1) * grid.rows * grid.columns)
            side = shown.shape[2]
            seen = shaded(shown[one, frame], on_grid(unseen[one, part], grid, side), HIDDEN)
            panels = {"picture": shown[one, frame], "what it sees": seen}
            if makes_pixels:
                panels["what it predicts"] = colours(found, one, frame % span, part)
            else:
                made = on_grid(colours(found[one, part]), grid, side)
                only = on_grid(hidden[one, part], grid, side)
                panels["predicted tokens"] = shaded(made, ~only, 235)
                panels["tokens of all"] = on_grid(colours(whole[one, part]), grid, side)
            frames.append(row_of(panels))
            holds.append(1 if perception.is_clip and frame < shown.shape[1] - 1 else 4)
    return Video(frames, holds, FPS)


class Principal:
    """Colours (…, 3) bytes of tokens (…, E): their three principal components over all tokens (N, T, E)."""

    def __init__(self, tokens: Tensor) -> None:
        flat = tokens.flatten(0, -2)
        self.mean = flat.mean(0)
        _, _, axes = torch.linalg.svd(flat - self.mean, full_matrices=False)
        self.axes = axes[:3].T
        along = (flat - self.mean) @ self.axes
        self.low, self.high = along.quantile(0.02, 0), along.quantile(0.98, 0)

    def __call__(self, tokens: Tensor) -> np.ndarray:
        along = ((tokens - self.mean) @ self.axes - self.low) / (self.high - self.low)
        return (255 * along.clamp(0, 1)).to(torch.uint8).numpy()


def as_pixels(perception: Any, patches: Tensor) -> Any:
    """Return a function that draws frame `frame` of the tokens `part` of a clip from patches (N, T, features)."""
    side, grid = perception.patch, perception.grid

    def draw(values: Tensor, one: int, frame: int, part: slice) -> np.ndarray:
        cells = values[one, part]  # (rows · columns, span · channels · side²), as `pixel_unshuffle` orders them
        channels = cells.shape[-1] // side**2 // perception.span
        cells = cells.view(len(cells), perception.span, channels * side**2)[:, frame]
        picture = F.pixel_shuffle(cells.T.view(-1, grid.rows, grid.columns), side)
        standard = picture.permute(1, 2, 0)
        colours = perception.colours
        shown = standard * colours.spread + colours.mean
        return (255 * shown.clamp(0, 1)).to(torch.uint8).numpy()

    return draw


def on_grid(values: Tensor | np.ndarray, grid: Any, side: int) -> np.ndarray:
    """Enlarge values of tokens (rows · columns, …) to pixels (side, side, …)."""
    cells = np.asarray(values).reshape(grid.rows, grid.columns, *values.shape[1:])
    return cells.repeat(side // grid.rows, 0).repeat(side // grid.columns, 1)


def shaded(picture: np.ndarray, hidden: np.ndarray, grey: int) -> np.ndarray:
    return np.where(hidden[..., None], np.uint8(grey), picture)


def row_of(panels: dict[str, np.ndarray]) -> Image.Image:
    """Draw panels side by side, with their names above."""
    width = len(panels) * (PANEL + GAP) + GAP
    sheet = Image.new("RGB", (width, PANEL + TITLE + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (name, picture) in enumerate(panels.items()):
        left = GAP + number * (PANEL + GAP)
        pen.text((left, 4), name, INK, ImageFont.load_default(12))
        image = Image.fromarray(np.ascontiguousarray(picture))
        sheet.paste(image.resize((PANEL, PANEL), Image.Resampling.NEAREST), (left, TITLE))
    return sheet
