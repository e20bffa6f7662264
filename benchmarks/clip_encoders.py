"""Encoders of clips that learn by a masked objective alone: built, trained, counted in operations, read as tokens.

Shapes: N clips of f frames of H x W px in colour; L tokens with E numbers each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ami.learning.schedulers import WarmUpCosine
from modules.perception._targets import SlowTokens
from modules.perception.masked import IJEPA, VJEPA, MaskedPrediction, VideoMAE
from modules.perception.masks import MultiBlockMasks
from modules.perception.vit import ViT

FRAMES = 8
ENCODER = {"width": 0, "patch": 8, "pool": "tokens", "embedding": 64, "depth": 2, "heads": 4, "positions": "sincos"}
PREDICTOR: dict[str, Any] = {"width": 32, "depth": 1}
"""Narrow and shallow, so that what a prediction needs is in the encoder's tokens."""
MASKS = MultiBlockMasks(num_blocks=(3, 1), scale=(0.15, 0.5))
"""The published masks leave 15 to 21 % of a grid of 4 x 4 as context: two or three places."""
MOMENTUM = {"momentum": 0.996, "final_momentum": 1.0}
"""Of the copies that give targets. The published .998 would leave the copy near its first weights in so short a training."""
OBJECTIVES: dict[str, MaskedPrediction] = {
    "V-JEPA": VJEPA(MASKS, SlowTokens(**MOMENTUM, normalise="deviation"), "mse", **PREDICTOR),
    "V-JEPA, published loss": VJEPA(MASKS, SlowTokens(**MOMENTUM), **PREDICTOR),
    "VideoMAE": VideoMAE(MASKS, **PREDICTOR),
    "frames alone": IJEPA(target=SlowTokens(**MOMENTUM), **PREDICTOR)}
FRAMES_OF = {name: 1 if name == "frames alone" else FRAMES for name in OBJECTIVES}
"""The frames of an example to learn from."""
BATCH, LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 16, 2e-3, 0.04, 100
COUNTED = 8
"""Steps whose operations are counted, because masks vary."""


def untrained(seed: int, name: str | None, shown: Tensor) -> ViT:
    """Return an encoder of clips (N, f, H, W, 3), with the objective of that name or none; encoders of clips of one seed
    begin with equal weights."""
    torch.manual_seed(seed)
    vit = ViT(**ENCODER, frames=FRAMES if name is None else FRAMES_OF[name],  # type: ignore[arg-type]
              objective="none" if name is None else OBJECTIVES[name])
    picture = tuple(shown.shape[2:])
    vit.set_up({"O": picture, **vit.infer_dims({"O": picture})})
    vit.fit_statistics({"observation": shown[:500].flatten(0, 1)})
    return vit.eval()


def _updates(vit: ViT, shown: Tensor, steps: int) -> Callable[[int], dict[str, float]]:
    """Return a function that takes one optimiser step on random clips, or on as many frames."""
    vit.begin_learning()
    vit.train()
    optimiser = torch.optim.AdamW([one for one in vit.parameters() if one.requires_grad], lr=LEARNING_RATE, fused=True,
                                  weight_decay=WEIGHT_DECAY)
    scheduler = WarmUpCosine(optimiser, steps, warm_up=min(WARM_UP, steps - 1), final=0.01)
    frames = shown.shape[1]

    def update(step: int) -> dict[str, float]:
        if vit.frames > 1:
            seen = shown[torch.randint(len(shown), (BATCH,))]
        else:
            seen = shown[torch.randint(len(shown), (BATCH * frames,)), torch.randint(frames, (BATCH * frames,))]
        loss, figures = vit.loss({"observation": seen})
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vit.parameters(), 2.0)
        optimiser.step()
        scheduler.step()
        vit.after_step(step, steps)
        return {"loss": float(loss.detach()), **{name: float(value) for name, value in figures.items()}}

    return update


def flops_per_step(name: str, shown: Tensor) -> float:
    """Return the floating-point operations of a step, those of the targets included."""
    update = _updates(untrained(0, name, shown), shown, COUNTED + 1)
    with FlopCounterMode(display=False) as counter:
        for step in range(COUNTED):
            update(step)
    return counter.get_total_flops() / COUNTED


def trained(name: str, seed: int, steps: int, shown: Tensor, checkpoints: Sequence[int] = (),
            at: Callable[[ViT], Any] = lambda vit: None) -> tuple[ViT, dict[str, Any]]:
    """Train an encoder; return it with its CPU-seconds, its last figures, and what `at` finds at the checkpoints, which
    are counted neither in time nor in random draws."""
    vit = untrained(seed, name, shown)
    torch.manual_seed(1000 + seed)
    update, seconds, curve, figures = _updates(vit, shown, steps), 0.0, [], {}
    for step in range(steps):
        begun = time.process_time()
        figures = update(step)
        seconds += time.process_time() - begun
        if step + 1 in checkpoints:
            with torch.random.fork_rng(devices=[]):
                curve.append({"step": step + 1, "cpu_seconds": seconds, "found": at(vit.eval())})
            vit.train()
    return vit.eval(), {"steps": steps, "cpu_seconds": seconds, "end": figures, "curve": curve}


@torch.no_grad()
def tokens_of(vit: ViT, shown: Tensor) -> Tensor:
    """Encode clips as tokens (N, L, E): those of the clip, or of all its frames, each encoded alone."""
    return torch.cat([(vit.encode_clip(part) if vit.frames > 1 else vit.encode(part).flatten(1, 2)).half()
                      for part in shown.split(200)])


@torch.no_grad()
def frame_tokens(vit: ViT, shown: Tensor) -> Tensor:
    """Encode the middle frame of each clip alone."""
    return torch.cat([vit.encode(part[:, part.shape[1] // 2]).half() for part in shown.split(200)])
