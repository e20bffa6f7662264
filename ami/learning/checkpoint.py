"""Checkpoints: one safetensors file with JSON metadata, written atomically. No pickle anywhere."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor

from ami.errors import CheckpointError
from ami.ports import DTYPES
from ami.storage.files import MIB, FileKind, parse_json, write_atomically
from ami.storage.limits import memory
from ami.storage.schema import Mismatch, check, shown

Tensors = dict[str, Tensor]
FILE = FileKind("a whole safetensors file", CheckpointError,
                "name another file or, if ami wrote this one, delete it and train again")
LARGEST_HEAD = 16 * MIB  # names, shapes and notes
T = TypeVar("T")


def save(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write tensors and notes as one file.

    Args:
        tensors: by name.
        notes: plain values, as JSON can hold.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, safetensors.torch.save(whole, metadata={"ami": json.dumps(notes)}))


def load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read a file that `save` wrote.

    Raises:
        CheckpointError: the file is missing, broken, or not written by ami.
    """
    tensors, notes = read(path)
    if notes is None:
        raise CheckpointError(f"'{path}' was not written by ami: its metadata has no 'ami' entry")
    return tensors, notes


def read(path: Path) -> tuple[Tensors, dict[str, Any] | None]:
    """Read any safetensors file: its tensors, and its notes; None if `save` did not write it.

    Raises:
        CheckpointError: the file is missing or broken.
    """
    path = Path(path)
    try:
        with replace(FILE, limit=int(memory() / 2)).open(path) as file:
            head = int.from_bytes(file.read(8), "little")
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at '{path}'. Fix: train one with `ami train`, "
                              "or leave checkpoint=null and `ami run` learns first") from None
    if head > LARGEST_HEAD:
        raise FILE.refusal(path, f"its header has {head:,} bytes: expected at most {LARGEST_HEAD:,}")
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            notes = (opened.metadata() or {}).get("ami")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
    except (safetensors.SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise FILE.refusal(path, " ".join(str(error).split())[:200]) from None  # torch refuses some dtypes and sizes
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES.values():
            raise FILE.refusal(path, f"{shown(name)} is {tensor.dtype}: expected one of {', '.join(DTYPES)}")
    if notes is None:
        return tensors, None
    try:
        plain = parse_json(notes)
        check(plain, dict[str, Any], "metadata.ami")
    except Mismatch as fault:
        raise FILE.refusal(path, fault) from None
    return tensors, plain


def as_record(path: Path, tensors: Mapping[str, Tensor], kind: Callable[..., T]) -> T:
    """Return a dataclass or NamedTuple made of a file's tensors.

    Raises:
        CheckpointError: the file holds other tensors.
    """
    known = inspect.signature(kind).parameters
    needed = {name for name, one in known.items() if one.default is inspect.Parameter.empty}
    if not needed <= set(tensors) <= set(known):
        raise FILE.refusal(path, f"it holds {shown(sorted(tensors))}: expected {', '.join(known)}")
    return kind(**tensors)


def by_node(tensors: Mapping[str, Tensor]) -> dict[str, Tensors]:
    """Nest tensors by node: {"world_model/weight": t} to {"world_model": {"weight": t}}."""
    nodes: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        node, _, key = name.partition("/")
        nodes.setdefault(node, {})[key] = tensor
    return nodes


def flat(nodes: Mapping[str, Mapping[str, Tensor]]) -> Tensors:
    """Invert `by_node`."""
    return {f"{node}/{key}": tensor for node, state in nodes.items() for key, tensor in state.items()}
