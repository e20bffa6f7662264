"""Masked prediction: objectives by which a `ViT` learns from images or clips alone, without actions or labels.

An objective is composed of a sampler of masks, a target, a predictor and a loss. The named ones differ in these parts only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch.nn import functional as F

from ami.errors import SettingError, require, suggestion
from modules.perception._mask_predictor import MaskPredictor
from modules.perception._positions import Grid
from modules.perception._targets import PatchPixels, SlowTokens, Target
from modules.perception.masks import BlockMasks, MaskSampler, MultiBlockMasks, RandomMasks

LOSSES = {"l1": F.l1_loss, "mse": F.mse_loss, "smooth_l1": F.smooth_l1_loss}
MASK_TOKEN_HEADS = 4


@dataclass
class MaskedPrediction:
    """Predicts the targets of masked tokens from the encoded others.

    Args:
        masks: the sampler of contexts and of wanted tokens.
        target: what is predicted.
        loss: `l1`, `mse` or `smooth_l1`.
        width: the predictor's width, a multiple of its heads, 4.
        depth: the predictor's number of layers.

    Raises:
        SettingError: a setting is unknown or out of its range.
    """

    masks: MaskSampler = field(default_factory=BlockMasks)
    target: Target = field(default_factory=SlowTokens)
    loss: str = "smooth_l1"
    width: int = 64
    depth: int = 2

    def __post_init__(self) -> None:
        who = type(self).__name__
        if self.loss not in LOSSES:
            raise SettingError(f"{who}.loss is '{self.loss}'{suggestion(str(self.loss), LOSSES)}")
        require(self.depth >= 1, f"{who}.depth is {self.depth}: expected 1 or more")
        require(self.width >= 1 and self.width % MASK_TOKEN_HEADS == 0,
                f"{who}.width is {self.width}: expected a multiple of {MASK_TOKEN_HEADS}, the predictor's heads")

    def predictor(self, features: int, grid: Grid, embedding: int, rotates: bool) -> MaskPredictor:
        """Return a new predictor; see `MaskPredictor`."""
        return MaskPredictor(self.target.outputs(features, embedding), grid, embedding, self.width, self.depth,
                             MASK_TOKEN_HEADS, rotates)


@dataclass
class IJEPA(MaskedPrediction):
    """Four blocks of an image, as tokens of an EMA copy of the encoder (Assran and others, *Self-supervised learning from
    images with a joint-embedding predictive architecture*, CVPR 2023)."""


@dataclass
class MAE(MaskedPrediction):
    """Three quarters of an image's patches, as pixels: I-JEPA's counterpart (He and others, *Masked autoencoders are
    scalable vision learners*, CVPR 2022)."""

    masks: MaskSampler = field(default_factory=RandomMasks)
    target: Target = field(default_factory=PatchPixels)
    loss: str = "mse"


@dataclass
class VJEPA(MaskedPrediction):
    """Blocks through the whole clip, as tokens of an EMA copy of the encoder (Bardes and others, *Revisiting feature
    prediction for learning visual representations from video*, 2024)."""

    masks: MaskSampler = field(default_factory=MultiBlockMasks)
    target: Target = field(default_factory=lambda: SlowTokens(0.998, 1.0))
    loss: str = "l1"


@dataclass
class VJEPA2(VJEPA):
    """V-JEPA with a fixed momentum (Assran and others, *V-JEPA 2*, 2025, section 2). Its paper adds `positions: rope`, a
    fixed weight decay, and a learning rate that is constant until it cools down: `scheduler=cool_down`."""

    target: Target = field(default_factory=lambda: SlowTokens(0.99925, 0.99925))


@dataclass
class VideoMAE(VJEPA):
    """V-JEPA's masks with pixels as targets: its counterpart (Tong and others, *VideoMAE*, NeurIPS 2022, which masks
    tubes of single patches instead)."""

    target: Target = field(default_factory=PatchPixels)
    loss: str = "mse"


OBJECTIVES: Mapping[str, type[MaskedPrediction]] = {
    "ijepa": IJEPA, "mae": MAE, "videomae": VideoMAE, "vjepa": VJEPA, "vjepa2": VJEPA2}


def objective_of(setting: str | MaskedPrediction) -> MaskedPrediction | None:
    """Return the objective that a setting names, with its defaults; None for `none`; an instance is returned unchanged.

    Raises:
        SettingError: there is no objective of that name.
    """
    if isinstance(setting, MaskedPrediction) or setting == "none":
        return None if isinstance(setting, str) else setting
    if setting not in OBJECTIVES:
        raise SettingError(f"ViT.objective is '{setting}'{suggestion(str(setting), [*OBJECTIVES, 'none'])}")
    return OBJECTIVES[setting]()
