"""The dtypes of messages and weights, by their name in files; readers of files need no PyTorch."""

from __future__ import annotations

import numpy as np

WIDTHS = {"bool": 1, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
          "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""The bytes of a value, by the dtype's name."""


def is_float(name: str) -> bool:
    """Return whether a dtype is a floating-point one."""
    return name.startswith(("float", "bfloat"))


def values_in(content: bytes | bytearray, name: str, kind: type[np.floating]) -> np.ndarray:
    """Return the values in a message's bytes, (n,), as NumPy's `kind`: beyond its range they are infinite."""
    if name == "bfloat16":  # the upper half of a float32; NumPy lacks it
        values = (np.frombuffer(content, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(content, name)
    with np.errstate(all="ignore"):  # numbers of a diverged model are no reason for a warning
        return values.astype(kind, copy=False)
