"""Origin: what a recording depends on besides its seed and settings, and what of that has changed since.

Equal seeds give equal traces on one machine. Where a replay differs nevertheless, one of these is why.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ami.graph.graph import Graph
from ami.storage.code_hash import code_hash

ENGINE = ("ami.agent", "ami.runtime.worker", "ami.runtime.local", "ami.envs.world")
"""What runs an agent: with all that these files import of ami, they decide what an agent does with its modules' code."""
NO_ENGINE = ("ami.errors", "ami.runtime.recorder", "ami.config", "ami.storage", "ami.terminal", "ami.trace", "ami.views",
             "ami.envs.code")
"""What decides nothing: words, files, records, and the reading of settings, which are counted themselves."""
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


def code_of(graph: Graph, nodes: Iterable[str] | None = None) -> dict[str, str]:
    """By node, a hash of the code that it runs: its class, what that imports, the world's package and its data.

    Args:
        graph: the graph.
        nodes: which of its nodes; None for all.
    """
    chosen = graph.order if nodes is None else nodes
    return {node: code_hash(graph.specs[node].code_roots(), without=("ami",)) for node in chosen}


def run_code(graph: Graph) -> dict[str, str]:
    """What a run depends on: the code of every node, and of the engine."""
    return {**code_of(graph), "engine": engine_code()}


def engine_code(more: Iterable[str] = ()) -> str:
    """A hash of the code that runs every graph, and of more files of ami, with what they import of it."""
    return code_hash((*ENGINE, *more), without=NO_ENGINE)


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
