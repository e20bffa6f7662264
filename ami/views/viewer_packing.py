"""Arrays and pictures as text for the viewer's page: base64 of little-endian numbers and of PNG files."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

Plain = dict[str, Any]


def packed(values: np.ndarray) -> str:
    """Return numbers of any shape, as 32-bit floats in base64."""
    return base64_of(np.ascontiguousarray(values, "<f4").tobytes())


def base64_of(content: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(content).decode("ascii")


def png(picture: np.ndarray | Image.Image) -> str:
    """Return a picture, an image or (H, W, 3) bytes, as a PNG file in base64."""
    written = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(written, "PNG")
    return base64_of(written.getvalue())


def dense(name: str, values: Mapping[int, np.ndarray], row: int, ticks: int) -> Plain:
    """Return {name: one row's numbers, (T, …)} of `values`, {tick: (B, …)}, NaN at other ticks; and their shape after T."""
    if not values:
        return {}
    shape = next(iter(values.values())).shape[1:]
    if not all(shape):
        return {}
    whole = np.full((ticks, *shape), np.nan, np.float32)
    for tick, value in values.items():
        if tick < ticks:
            whole[tick] = value[row]
    return {name: packed(whole), f"{name}_shape": list(shape)}
