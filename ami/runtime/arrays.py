"""Tensors as numpy arrays, which Ray moves between processes without copies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BITS = {torch.bfloat16: torch.int16}
"""The dtypes that numpy lacks, and integers of the same width."""


class Bits(NamedTuple):
    """A tensor of a dtype that numpy lacks, as the integers of the same bits."""

    dtype: torch.dtype
    bits: np.ndarray


Array = np.ndarray | Bits


def to_array(tensor: Tensor) -> Array:
    """Return a tensor of the CPU as an array on the same memory."""
    tensor = tensor.detach()
    if tensor.dtype not in BITS:
        return tensor.numpy()
    return Bits(tensor.dtype, tensor.contiguous().view(BITS[tensor.dtype]).numpy())


def to_tensor(array: Array, copy: bool = False) -> Tensor:
    """Return the tensor of an array, on the same memory or a copy."""
    plain = array.bits if isinstance(array, Bits) else array
    tensor = torch.from_numpy(np.array(plain) if copy else plain)
    return tensor.view(array.dtype) if isinstance(array, Bits) else tensor
