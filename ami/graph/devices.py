"""Devices: the processor a node's module runs on, as the wiring names it."""

from __future__ import annotations

import torch

CPU = torch.device("cpu")


def resolve(name: str) -> torch.device:
    """Return the device of a name: auto is the first CUDA device, or the CPU if PyTorch sees none."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return CPU
    return torch.device("cuda", int(name.partition(":")[2] or 0))


def absent(device: torch.device) -> str:
    """Return why PyTorch cannot use a device here, as the end of a sentence; empty if it can."""
    if device.type != "cuda":
        return ""
    if not torch.cuda.is_available():
        return "but PyTorch sees no CUDA device here"
    count = torch.cuda.device_count()
    if (device.index or 0) < count:
        return ""
    return f"but PyTorch sees {count} CUDA device{'s' if count > 1 else ''} here, numbered from 0"
