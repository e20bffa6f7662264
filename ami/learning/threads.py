"""Threads: the number of torch's threads during a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ami.learning.heap import keep_freed_memory


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Compute with `count` threads in the block; restore the caller's number after it, also after an error.

    The process keeps freed memory from then on, see `keep_freed_memory`.
    """
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
