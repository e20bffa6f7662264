"""Origin: what a recording depends on besides its seed and settings, and what of that has changed since.

Equal seeds give equal traces on one machine. Where a replay differs nevertheless, one of these is why.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CPU_INFO = Path("/proc/cpuinfo")


def origin(weights: Mapping[str, Mapping[str, Tensor]], code: Mapping[str, str],
           threads: int | None = None) -> dict[str, Any]:
    """What is written down with a run.

    Args:
        weights: by node, what was learnt.
        code: by node, a hash of the files its module comes from.
        threads: how many the modules compute with; None is what this process has.
    """
    return {"weights": {node: weights_hash(own) for node, own in weights.items()}, "code": dict(code),
            "threads": threads or torch.get_num_threads(), "processor": processor()}


def changes(then: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """What differs, a short sentence each, in the order of the first: nested plain values."""
    for name in [*then, *(name for name in now if name not in then)]:
        path = f"{where}.{name}" if where else str(name)
        before, after = then.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from changes(before, after, path)
        elif before != after:
            yield f"{path} was {before!r} and is {after!r}"


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """16 hex digits over names, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def processor() -> str:
    """The processor's name and the instructions that torch uses of it: the last bits of a sum may depend on both."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
