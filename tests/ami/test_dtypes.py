"""Dtypes by name agree with PyTorch's, and values are read from bytes without it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ami.dtypes import WIDTHS, is_float, values_in
from ami.ports import DTYPES


@pytest.mark.parametrize("name", WIDTHS)
def test_a_dtype_is_that_of_pytorch(name: str) -> None:
    dtype = DTYPES[name]
    assert (str(dtype), dtype.itemsize, dtype.is_floating_point) == (f"torch.{name}", WIDTHS[name], is_float(name))


@pytest.mark.parametrize("name", WIDTHS)
def test_values_are_those_of_pytorch(name: str) -> None:
    bits = torch.randint(0, 256, (4096,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    content = bytes((bits % 2 if name == "bool" else bits).tolist())
    expected = torch.frombuffer(bytearray(content), dtype=DTYPES[name])
    for same, kind in ((expected.float(), np.float32), (expected.double(), np.float64)):
        values = torch.from_numpy(values_in(bytearray(content), name, kind))
        torch.testing.assert_close(values, same, rtol=0, atol=0, equal_nan=True)
    assert values_in(b"", name, np.float64).size == 0
