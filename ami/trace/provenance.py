"""Provenance: what a recording depends on besides its seed and settings, and what has changed since.

Equal seeds give equal traces on one machine. If a replay differs, one of these has usually changed.
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
"""Modules that run an agent. With their imports from ami they determine what an agent does with its modules' code."""
NO_ENGINE = ("ami.errors", "ami.runtime.recorder", "ami.config", "ami.storage", "ami.terminal", "ami.trace", "ami.views",
             "ami.envs.code")
"""Modules that do not affect an agent: messages, files, records, and the reading of settings (compared directly)."""
CPU_INFO = Path("/proc/cpuinfo")


def origin(weights: Mapping[str, Mapping[str, Tensor]], code: Mapping[str, str],
           threads: int | None = None) -> dict[str, Any]:
    """Return the provenance that is stored with a run.

    Args:
        weights: learnt weights by node.
        code: hash of the module's files by node.
        threads: number of compute threads; None takes this process's number.
    """
    return {"weights": {node: weights_hash(own) for node, own in weights.items()}, "code": dict(code),
            "threads": threads or torch.get_num_threads(), "processor": processor()}


def code_of(graph: Graph, nodes: Iterable[str] | None = None) -> dict[str, str]:
    """Return a hash of each node's code: its class, the imports of that, the world's package and its data.

    Args:
        graph: the graph.
        nodes: which of its nodes; None for all.
    """
    chosen = graph.order if nodes is None else nodes
    return {node: code_hash(graph.specs[node].code_roots(), without=("ami",)) for node in chosen}


def run_code(graph: Graph) -> dict[str, str]:
    """Return the code hashes that a run depends on: every node's and the engine's."""
    return {**code_of(graph), "engine": engine_code()}


def engine_code(more: Iterable[str] = (), without: Iterable[str] = ()) -> str:
    """Return a hash of the engine's code and of more ami modules, with their imports from ami.

    Args:
        more: more modules.
        without: modules and packages that do not count, besides `NO_ENGINE`.
    """
    return code_hash((*ENGINE, *more), without=(*NO_ENGINE, *without))


def changes(then: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield a short sentence per difference of two nested mappings, in the order of the first."""
    for name in [*then, *(name for name in now if name not in then)]:
        path = f"{where}.{name}" if where else str(name)
        before, after = then.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from changes(before, after, path)
        elif before != after:
            yield f"{path} was {before!r} and is {after!r}"


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Hash names, dtypes, shapes and values to 16 hex digits."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def processor() -> str:
    """Return the processor's name and torch's instruction set: the last bits of a sum may depend on both."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
