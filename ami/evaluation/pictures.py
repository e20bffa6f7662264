"""Image observations: detection and conversion to RGB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


def is_picture(dtype: torch.dtype | None, shape: Sequence[int]) -> bool:
    """Return whether a message is an image: bytes, (H, W) or (H, W, C) with 1, 3 or 4 channels; without the batch."""
    return dtype == torch.uint8 and (len(shape) == 2 or (len(shape) == 3 and shape[-1] in CHANNELS))


def coloured(picture: np.ndarray) -> np.ndarray:
    """Convert an image of any number of channels to (H, W, 3); transparency is dropped."""
    whole = picture if picture.ndim == 3 else picture[..., None]
    return whole.repeat(3, -1) if whole.shape[-1] == 1 else whole[..., :3]
