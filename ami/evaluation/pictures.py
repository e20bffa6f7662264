"""Observations that can be looked at: which are pictures, and how a screen shows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

CHANNELS = (1, 3, 4)  # grey, coloured, coloured with transparency


def is_picture(dtype: torch.dtype | None, shape: Sequence[int]) -> bool:
    """Whether a message can be looked at: bytes, (H, W) or (H, W, C) with 1, 3 or 4 channels; without the batch."""
    return dtype == torch.uint8 and (len(shape) == 2 or (len(shape) == 3 and shape[-1] in CHANNELS))


def coloured(picture: np.ndarray) -> np.ndarray:
    """A picture of any number of channels as (H, W, 3); transparency is dropped."""
    whole = picture if picture.ndim == 3 else picture[..., None]
    return whole.repeat(3, -1) if whole.shape[-1] == 1 else whole[..., :3]
